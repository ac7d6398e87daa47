// SPDX-License-Identifier: MIT
#include <evenkeel/nn/feed_forward.hpp>

#include "all_close.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

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

TEST_P(FeedForwardTest, DropsInnerActivationsWhileTrainingOnly) {
  FeedForward feed_forward(FeedForwardOptions(4, 64).dropout(0.5));
  feed_forward->to(device());
  const auto x = randn({2, 4});

  EXPECT_FALSE(test::all_close(feed_forward(x), feed_forward(x)));
  feed_forward->eval();
  EXPECT_TRUE(test::same_bits(feed_forward(x), feed_forward(x)));
}

TEST_P(FeedForwardTest, HasRightGradients) {
  FeedForward feed_forward(FeedForwardOptions(4, 6));
  feed_forward->to(device(), torch::kFloat64);
  test::randomise(*feed_forward);
  auto inputs = feed_forward->parameters();
  const auto x = randn({3, 4}, torch::kFloat64).requires_grad_();
  inputs.push_back(x);

  EXPECT_TRUE(test::gradients_are_right([&] { return feed_forward(x); }, inputs));
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

EVENKEEL_ON_EVERY_DEVICE(FeedForwardTest);

}  // namespace
}  // namespace evenkeel::nn
