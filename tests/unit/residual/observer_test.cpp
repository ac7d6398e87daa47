// SPDX-License-Identifier: MIT
#include <evenkeel/residual/observer.hpp>

#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/admin_residual.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/residual.hpp>

#include "all_close.hpp"
#include "fixture.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

namespace evenkeel {
namespace {

using test::same_bits;

struct Seen {
  const torch::nn::Module* residual;
  Position position;
  int64_t order;
  torch::Tensor input, branch, output;
};

// A block of a user's own that joins by AdminResidual.
struct OwnBlockWithAdminImpl : torch::nn::Module {
  OwnBlockWithAdminImpl()
      : fc(register_module("fc", torch::nn::Linear(8, 8))),
        residual(register_module(
            "residual",
            AdminResidual<NoBranch, torch::nn::LayerNorm>(AdminResidualOptions(12).embed_dim(8)))) {
  }
  torch::Tensor forward(const torch::Tensor& x) { return residual(x, fc(x)); }
  torch::nn::Linear fc;
  AdminResidual<NoBranch, torch::nn::LayerNorm> residual;
};

class ObserverTest : public test::DeviceTest {
 protected:
  static auto into(std::vector<Seen>& seen) {
    return [&seen](const SublayerEvent& e) {
      seen.push_back({&e.residual, e.position, e.order, e.input, e.branch, e.output});
    };
  }
  static torch::Tensor f(const torch::Tensor& h) { return h.sin(); }
};

TEST_P(ObserverTest, SeesAUsersOwnBlockThatJoinsByAdminResidual) {
  OwnBlockWithAdminImpl block;
  block.to(device());
  const auto x = randn({2, 8});
  std::vector<Seen> seen;
  torch::Tensor y;
  {
    const Observer watch(into(seen));
    y = block.forward(x);
  }
  block.forward(x);  // nobody watches any more
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].residual, block.residual.get());
  EXPECT_EQ(seen[0].position.num_res_layers, 12);
  EXPECT_TRUE(seen[0].input.is_same(x));
  EXPECT_TRUE(same_bits(seen[0].branch, block.fc(x)));
  EXPECT_TRUE(same_bits(seen[0].output, y));
}

TEST_P(ObserverTest, SeesTheSumsOfAStreamThatWaitForTheNextNorm) {
  std::vector<Residual<PreNorm>> residuals;
  for (int64_t i = 0; i < 3; ++i) {
    auto position = Position::of(3);
    position.index = i;
    residuals.emplace_back(ResidualOptions(position, 8));
    residuals.back()->to(device());
    test::randomise(*residuals.back());
  }
  const auto x = randn({2, 8});
  const auto run = [&] {
    ResidualStream stream = x;
    for (auto& residual : residuals) stream = residual->apply_branch(stream, f);
    return stream.sum();
  };
  const auto unwatched = run();
  std::vector<Seen> seen;
  const Observer watch(into(seen));
  EXPECT_TRUE(test::all_close(run(), unwatched));
  ASSERT_EQ(seen.size(), 3U);
  auto carried = x;
  for (int64_t i = 0; i < 3; ++i) {
    const auto& event = seen[static_cast<size_t>(i)];
    EXPECT_EQ(event.position.index, i);
    EXPECT_EQ(event.order, i);
    EXPECT_TRUE(same_bits(event.input, carried));
    EXPECT_TRUE(test::all_close(event.output, event.input + event.branch));
    carried = event.output;
  }
}

TEST_P(ObserverTest, TellsTheBranchBeforeItsDropoutAndGain) {
  struct Halved {
    static Norms norms(const Position&) { return Norms::none(); }
    static Gain branch(const Position&) { return Gain::fixed(0.5); }
  };
  Residual<Halved> residual(ResidualOptions(Position::of(1), 8).dropout(0.5));
  residual->to(device());
  const auto x = randn({2, 8});
  std::vector<Seen> seen;
  const Observer watch(into(seen));
  residual(x, x);
  EXPECT_TRUE(seen.at(0).branch.is_same(x));
}

TEST_P(ObserverTest, MayBeNestedAndEachSeesEveryEvent) {
  Residual<Admin> residual(ResidualOptions(Position::of(1), 8));
  residual->to(device());
  const auto x = randn({2, 8});
  std::vector<Seen> outer_seen, inner_seen;
  const Observer outer(into(outer_seen));
  residual(x, x);
  {
    const Observer inner(into(inner_seen));
    residual(x, x);
  }
  residual(x, x);
  EXPECT_EQ(outer_seen.size(), 3U);
  ASSERT_EQ(inner_seen.size(), 1U);
  EXPECT_EQ(inner_seen[0].order, 0);
}

TEST_P(ObserverTest, SeesItsOwnThreadAlone) {
  Residual<Admin> residual(ResidualOptions(Position::of(1), 8));
  residual->to(device());
  const auto x = randn({2, 8});
  std::vector<Seen> seen;
  const Observer watch(into(seen));
  std::thread([&] { residual(x, x); }).join();
  EXPECT_TRUE(seen.empty());
}

TEST_P(ObserverTest, LeavesNobodyWatchingWhenItsCallbackThrows) {
  Residual<Admin> residual(ResidualOptions(Position::of(1), 8));
  residual->to(device());
  const auto x = randn({2, 8});
  EXPECT_THROW(
      {
        const Observer watch([](const SublayerEvent&) { throw std::runtime_error("enough"); });
        residual(x, x);
      },
      std::runtime_error);
  EXPECT_FALSE(Observer::any());
  EXPECT_NO_THROW(residual(x, x));
}

EVENKEEL_ON_EVERY_DEVICE(ObserverTest);

}  // namespace
}  // namespace evenkeel
