// SPDX-License-Identifier: MIT
#include <evenkeel/nn/positions.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/embedding.h>
#include <torch/types.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace evenkeel::nn {
namespace {

using test::all_close;
using test::throws;

// Expected values: sin and cos of t / 10000^(2i / 4) for t = 0, 1, 7, by Python 3.11's math.
TEST(SinusoidalPositionsTest, MatchTheFormula) {
  const auto expected = torch::tensor(
      {{0.0, 1.0, 0.0, 1.0},
       {0.8414709848078965, 0.5403023058681398, 0.009999833334166664, 0.9999500004166653},
       {0.6569865987187891, 0.7539022543433046, 0.06994284733753277, 0.9975510002532796}},
      torch::kFloat32);
  const auto positions = sinusoidal_positions(8, 4);

  EXPECT_TRUE(all_close(positions.index_select(0, torch::tensor({0, 1, 7})), expected));
}

TEST(SinusoidalPositionsTest, OfFewerTokensAreTheFirstOfMore) {
  EXPECT_TRUE(
      test::same_bits(sinusoidal_positions(5, 64), sinusoidal_positions(500, 64).slice(0, 0, 5)));
  EXPECT_EQ(sinusoidal_positions(0, 4).sizes(), (std::vector<int64_t>{0, 4}));
}

TEST(SinusoidalPositionsTest, NeedAnEvenSize) {
  EXPECT_TRUE(throws([] { sinusoidal_positions(3, 5); },
                     "sinusoidal_positions: expected length >= 0 and an even embed_dim, but got 3 "
                     "and 5"));
  EXPECT_TRUE(throws([] { sinusoidal_positions(-1, 4); }, "but got -1 and 4"));
}

TEST(SinusoidalPositionsTest, BeginAtAnyToken) {
  EXPECT_TRUE(
      test::same_bits(sinusoidal_positions(5, 64, 7), sinusoidal_positions(12, 64).slice(0, 7)));
}

/// A model that holds an embedding and, if told so, positions.
struct PositionedImpl : torch::nn::Cloneable<PositionedImpl> {
  explicit PositionedImpl(bool has_positions_ = true) : has_positions(has_positions_) { reset(); }
  void reset() override {
    tokens = register_module("tokens", torch::nn::Embedding(9, 8));
    if (has_positions) {
      positions =
          register_module("positions",
                          SinusoidalPositions(SinusoidalPositionsOptions(8).max_length(16)));
    }
  }
  torch::Tensor forward(int64_t first, int64_t end) {
    return positions(first, end, tokens->weight.options());
  }
  bool has_positions;
  torch::nn::Embedding tokens{nullptr};
  SinusoidalPositions positions{nullptr};
};
TORCH_MODULE(Positioned);

class PositionTableTest : public test::DeviceTest {};

TEST_P(PositionTableTest, HasTheSinusoidsOfAnyRange) {
  auto model = on_device(Positioned());
  for (const auto& [first, end] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 16}, {3, 7}, {5, 5}, {15, 17}, {100, 103}}) {
    EXPECT_TRUE(test::same_bits(model(first, end),
                                sinusoidal_positions(end - first, 8, first).to(device())));
  }
}

TEST_P(PositionTableTest, FollowsTheModelAndKeepsItsPrecision) {
  auto model = on_device(Positioned());
  const auto exact = sinusoidal_positions(16, 8);
  model->to(torch::kHalf);
  EXPECT_TRUE(test::same_bits(model(0, 16), exact.to(torch::kHalf).to(device())));
  EXPECT_EQ(model(0, 16).device(), device());
  model->to(torch::kFloat32);
  EXPECT_TRUE(test::same_bits(model(0, 16), exact.to(device())));
  model->to(torch::kCPU, torch::kFloat64);
  EXPECT_TRUE(test::same_bits(model(0, 16), exact.to(torch::kFloat64)));
}

TEST_P(PositionTableTest, LooksUpWithoutCopying) {
  auto model = on_device(Positioned());
  EXPECT_EQ(model(0, 4).data_ptr(), model(0, 4).data_ptr());
  EXPECT_EQ(model(0, 4).scalar_type(), torch::kFloat32);
  EXPECT_EQ(model->positions(0, 4, options(torch::kBFloat16)).scalar_type(), torch::kBFloat16);
}

TEST_P(PositionTableTest, IsNoPartOfACheckpoint) {
  auto model = on_device(Positioned());
  EXPECT_EQ(test::state_names(*model), (std::vector<std::string>{"tokens.weight", "buffers"}));
  auto without = on_device(Positioned(false));
  test::save_and_load(model, without);
  EXPECT_TRUE(test::same_state(*model, *without));
  test::save_and_load(without, model);
}

TEST_P(PositionTableTest, ClonesOntoADevice) {
  const auto model = Positioned();
  auto copy = Positioned(std::dynamic_pointer_cast<PositionedImpl>(model->clone(device())));
  EXPECT_TRUE(test::same_bits(copy(2, 9), sinusoidal_positions(7, 8, 2).to(device())));
  auto alone =
      std::dynamic_pointer_cast<SinusoidalPositionsImpl>(model->positions->clone(device()));
  EXPECT_EQ(alone->forward(0, 2, options()).data_ptr(), alone->forward(0, 2, options()).data_ptr());
}

// Before: a table was replaced in the forward pass, and threads read another's.
TEST_P(PositionTableTest, IsReadByManyThreads) {
  auto model = on_device(Positioned());
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  threads.reserve(wrong.size());
  for (size_t i = 0; i < wrong.size(); ++i) {
    threads.emplace_back([&, i] {
      for (const int64_t end : {3, 30, 300, 2, 16, 17}) {
        wrong[i] += static_cast<int>(model->forward(0, end).size(0) != end);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

EVENKEEL_ON_EVERY_DEVICE(PositionTableTest);

TEST(PositionTableErrorTest, NeedsAnEvenSizeAtConstruction) {
  EXPECT_TRUE(throws([] { SinusoidalPositions positions(5); },
                     "SinusoidalPositions: expected an even embed_dim > 0, but got 5"));
  EXPECT_TRUE(throws([] { SinusoidalPositions positions(0); }, "but got 0"));
  EXPECT_TRUE(
      throws([] { SinusoidalPositions positions(SinusoidalPositionsOptions(4).max_length(-1)); },
             "SinusoidalPositions: expected max_length >= 0, but got -1"));
}

TEST(PositionTableErrorTest, NeedsARange) {
  SinusoidalPositions positions(4);
  EXPECT_TRUE(throws([&] { positions(3, 2, torch::TensorOptions()); },
                     "SinusoidalPositions: expected 0 <= first <= end, but got 3 and 2"));
  EXPECT_TRUE(throws([&] { positions(-1, 2, torch::TensorOptions()); }, "but got -1 and 2"));
}

TEST(PositionTablePrintTest, SaysItsOptions) {
  EXPECT_EQ(test::printed(SinusoidalPositions(4)),
            "evenkeel::nn::SinusoidalPositions(embed_dim=4, max_length=1024)");
}

}  // namespace
}  // namespace evenkeel::nn
