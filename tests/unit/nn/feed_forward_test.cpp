// SPDX-License-Identifier: MIT
#include <evenkeel/nn/feed_forward.hpp>

#include "all_close.hpp"
#include "anatomy_table.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "modules.hpp"

#include <evenkeel/anatomy/torch_nn.hpp>

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <string>
#include <vector>

namespace evenkeel::nn {
namespace {

class FeedForwardTest : public test::DeviceTest {};

TEST_P(FeedForwardTest, IsTwoMatricesWithAReluBetween) {
  FeedForward feed_forward(FeedForwardOptions(4, 6));
  feed_forward->to(device());
  test::randomise(*feed_forward);
  const auto x = randn({2, 3, 4});
  const auto& fc1 = feed_forward->fc1;
  const auto& fc2 = feed_forward->fc2;
  const auto inner = (x.matmul(fc1->weight.t()) + fc1->bias).clamp_min(0.0);

  EXPECT_TRUE(test::all_close(feed_forward(x), inner.matmul(fc2->weight.t()) + fc2->bias));
}

TEST_P(FeedForwardTest, HasGeluByTheNormalDistribution) {
  FeedForward feed_forward(FeedForwardOptions(4, 6).activation(Activation::kGELU));
  feed_forward->to(device());
  test::randomise(*feed_forward);
  const auto x = randn({2, 3, 4});
  const auto h = feed_forward->fc1(x);
  const auto inner = 0.5 * h * (1.0 + torch::erf(h / std::sqrt(2.0)));

  EXPECT_TRUE(test::all_close(feed_forward(x), feed_forward->fc2(inner)));
}

TEST_P(FeedForwardTest, HasSwigluWithAGate) {
  FeedForward feed_forward(FeedForwardOptions(4, 6).activation(Activation::kSwiGLU).bias(false));
  feed_forward->to(device());
  test::randomise(*feed_forward);
  const auto x = randn({2, 3, 4});
  const auto g = x.matmul(feed_forward->gate->weight.t());
  const auto inner = g * g.sigmoid() * x.matmul(feed_forward->fc1->weight.t());

  EXPECT_TRUE(test::all_close(feed_forward(x), inner.matmul(feed_forward->fc2->weight.t())));
}

TEST_P(FeedForwardTest, HasALeakyReluWithASlope) {
  for (const double slope : {0.0, 0.2, -0.5}) {
    FeedForward feed_forward(
        FeedForwardOptions(4, 6).activation(Activation::kLeakyReLU).negative_slope(slope));
    feed_forward->to(device());
    test::randomise(*feed_forward);
    const auto x = randn({2, 3, 4});
    const auto h = feed_forward->fc1(x);
    const auto inner = torch::where(h >= 0, h, slope * h);

    EXPECT_TRUE(test::all_close(feed_forward(x), feed_forward->fc2(inner)));
  }
}

TEST_P(FeedForwardTest, HasSilu) {
  FeedForward feed_forward(FeedForwardOptions(4, 6).activation(Activation::kSiLU));
  feed_forward->to(device());
  test::randomise(*feed_forward);
  const auto x = randn({2, 3, 4});
  const auto h = feed_forward->fc1(x);

  EXPECT_TRUE(test::all_close(feed_forward(x), feed_forward->fc2(h * torch::sigmoid(h))));
}

TEST_P(FeedForwardTest, DropsInnerActivationsWhileTrainingOnly) {
  FeedForward feed_forward(FeedForwardOptions(4, 64).dropout(0.5));
  feed_forward->to(device());
  const auto x = randn({2, 4});

  EXPECT_FALSE(test::all_close(feed_forward(x), feed_forward(x)));
  feed_forward->eval();
  EXPECT_TRUE(test::same_bits(feed_forward(x), feed_forward(x)));
}

TEST_P(FeedForwardTest, HasRightGradients) {
  for (const auto activation : {Activation::kReLU,
                                Activation::kGELU,
                                Activation::kSwiGLU,
                                Activation::kLeakyReLU,
                                Activation::kSiLU}) {
    SCOPED_TRACE(to_string(activation));
    FeedForward feed_forward(FeedForwardOptions(4, 6).activation(activation));
    feed_forward->to(device(), torch::kFloat64);
    test::randomise(*feed_forward);
    auto inputs = feed_forward->parameters();
    const auto x = randn({3, 4}, torch::kFloat64).requires_grad_();
    inputs.push_back(x);

    EXPECT_TRUE(test::gradients_are_right([&] { return feed_forward(x); }, inputs));
  }
}

TEST_P(FeedForwardTest, ClonesSavesAndLoads) {
  FeedForward feed_forward(FeedForwardOptions(4, 6));
  feed_forward->to(device());
  test::randomise(*feed_forward);
  auto copy = test::clone_of(feed_forward);
  FeedForward loaded(FeedForwardOptions(4, 6));
  loaded->to(device());
  test::save_and_load(feed_forward, loaded);

  EXPECT_TRUE(test::same_state(*copy, *feed_forward));
  EXPECT_TRUE(test::shares_nothing(*copy, *feed_forward));
  EXPECT_TRUE(test::same_state(*loaded, *feed_forward));
  EXPECT_EQ(
      test::state_names(*feed_forward),
      (std::vector<std::string>{"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "buffers"}));
}

TEST_P(FeedForwardTest, ReinitialisesEveryMatrixAndBias) {
  for (const auto activation : {Activation::kReLU, Activation::kSwiGLU}) {
    FeedForward feed_forward(FeedForwardOptions(128, 256).activation(activation));
    feed_forward->to(device());
    test::randomise(*feed_forward);
    feed_forward->reset_parameters();
    for (const auto& parameter : feed_forward->named_parameters()) {
      const auto largest = parameter.value().abs().max().item<double>();
      const double bound = parameter.value().dim() == 1 ? 0.0 : std::sqrt(6.0 / (128 + 256));
      EXPECT_NEAR(largest, bound, 1e-3 * bound) << parameter.key();
    }
  }
}

EVENKEEL_ON_EVERY_DEVICE(FeedForwardTest);

TEST(FeedForwardFormTest, TellsTheRolesOfSwiglu) {
  FeedForward feed_forward(FeedForwardOptions(4, 6).activation(Activation::kSwiGLU).bias(false));
  EXPECT_EQ(test::parameters_of(anatomy_of(feed_forward)),
            (test::Lines{"fc1.weight: feed-forward in, encoder 0",
                         "gate.weight: feed-forward in, encoder 0",
                         "fc2.weight: feed-forward out, encoder 0"}));
}

TEST(FeedForwardFormTest, PrintsTheSlopeOfLeakyRelu) {
  const FeedForward feed_forward(
      FeedForwardOptions(4, 6).activation(Activation::kLeakyReLU).negative_slope(0.2));
  EXPECT_NE(test::printed(feed_forward)
                .find("dim_feedforward=6, activation=LeakyReLU, negative_slope=0.2, dropout=0)"),
            std::string::npos);
}

TEST(FeedForwardFormTest, PrintsItsOptions) {
  const FeedForward feed_forward(
      FeedForwardOptions(4, 6).activation(Activation::kGELU).bias(false).dropout(0.1));
  EXPECT_NE(test::printed(feed_forward)
                .find("evenkeel::nn::FeedForward(embed_dim=4, dim_feedforward=6, activation=GELU, "
                      "bias=false, dropout=0.1)"),
            std::string::npos);
}

// Before: sizes of 0 were taken, and dropout was looked at in the first forward pass.
TEST(FeedForwardFormTest, NeedsOptionsThatMakeSense) {
  const auto construct = [](const FeedForwardOptions& options) {
    return [options] { FeedForward feed_forward(options); };
  };
  EXPECT_TRUE(test::throws(construct(FeedForwardOptions(4, 0)),
                           "FeedForward: expected embed_dim and dim_feedforward > 0, but got 4 and "
                           "0"));
  EXPECT_TRUE(test::throws(construct(FeedForwardOptions(-1, 4)), "but got -1 and 4"));
  EXPECT_TRUE(test::throws(construct(FeedForwardOptions(4, 4).dropout(1.0)),
                           "FeedForward: expected dropout in [0, 1), but got 1"));
  EXPECT_TRUE(test::throws(construct(FeedForwardOptions(4, 4).negative_slope(std::nan(""))),
                           "FeedForward: expected a finite negative_slope, but got nan"));
}

}  // namespace
}  // namespace evenkeel::nn
