// SPDX-License-Identifier: MIT
#include "common/update_step.hpp"

#include "all_close.hpp"
#include "common/checkpoint_parts.hpp"
#include "small_model.hpp"

#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace evenkeel::examples {
namespace {

using evenkeel::test::all_close;

class UpdateStepTest : public ::testing::Test {
 protected:
  UpdateStepTest() { torch::manual_seed(0); }
};

TEST_F(UpdateStepTest, AccumulatedBatchesUpdateAsOneOfTheirTokens) {
  SmallModel one;
  torch::manual_seed(0);
  SmallModel several;
  several.linear->weight.detach().copy_(one.linear->weight.detach());
  several.linear->bias.detach().copy_(one.linear->bias.detach());
  EXPECT_EQ(one.step.update({{0, 1, 2, 3, 4}}), 5);
  EXPECT_EQ(several.step.update({{0}, {1, 2, 3}, {4}}), 5);
  EXPECT_TRUE(all_close(several.linear->weight, one.linear->weight));
  EXPECT_TRUE(all_close(several.linear->bias, one.linear->bias));
}

TEST_F(UpdateStepTest, CountsUpdatesTokensAndTheirMeanLoss) {
  SmallModel model;
  model.spoil = [](const torch::Tensor& loss) { return loss * 0.0 + 6.0; };
  model.step.update({{0, 1}, {2}});
  model.step.update({{3, 4, 5}});
  EXPECT_EQ(model.step.state().updates, 2);
  EXPECT_EQ(model.step.state().tokens, 6);
  EXPECT_EQ(model.step.last_loss(), 0.0);  // nobody has looked yet
  EXPECT_DOUBLE_EQ(model.step.window_loss(), 3 * 6.0 / 6.0);
  EXPECT_DOUBLE_EQ(model.step.last_loss(), 3.0);
  model.step.begin_window();
  EXPECT_EQ(model.step.window_loss(), 0.0);
  EXPECT_EQ(model.step.state().tokens, 6);
}

TEST_F(UpdateStepTest, HalvesTheRateOfTheSchedule) {
  SmallModel model(1e-2);
  model.step.update({{1}});
  EXPECT_EQ(model.step.learning_rate(), 1e-2);
  model.step.scale_learning_rate(0.5);
  EXPECT_EQ(model.step.learning_rate(), 5e-3);
}

TEST_F(UpdateStepTest, CountsUpdatesThatAreLeftOut) {
  SmallModel model;
  const auto spoiled = [](const torch::Tensor& loss) {
    return loss * std::numeric_limits<float>::infinity();
  };
  const auto window = [&](int updates) {
    for (int i = 0; i < updates; ++i) model.step.update({{1, 2}});
    return model.step.begin_window();
  };
  model.spoil = spoiled;
  EXPECT_EQ(window(3).in_window, 3);
  EXPECT_FALSE(model.step.made());
  EXPECT_EQ(window(2).in_a_row, 5);
  EXPECT_TRUE(model.step.finite());
  model.spoil = nullptr;
  const auto good = window(2);
  EXPECT_EQ(good.in_window, 0);
  EXPECT_EQ(good.in_a_row, 0);
  EXPECT_TRUE(model.step.made());
}

TEST_F(UpdateStepTest, SeesWeightsAndMeansThatAreNotFinite) {
  SmallModel model;
  EXPECT_TRUE(model.step.finite());
  const torch::NoGradGuard no_grad;
  model.linear->bias.fill_(std::nan(""));
  EXPECT_FALSE(model.step.finite());
}

TEST_F(UpdateStepTest, GoesOnFromACheckpointBitForBit) {
  SmallModel unbroken(1e-2, 0.0, /*smoothing=*/0.1);
  Checkpoint checkpoint;
  StepState state;
  for (int64_t i = 0; i < 6; ++i) {
    if (i == 3) {
      unbroken.step.store(checkpoint);
      for (auto& [name, tensor] : checkpoint.tensors) tensor = tensor.detach().clone();
      unbroken.step.window_loss();
      state = unbroken.step.state();
    }
    unbroken.step.update({{i, i + 1}});
  }
  SmallModel broken(1e-2, 0.0, /*smoothing=*/0.1);
  broken.step.update({{7}});
  broken.step.restore(checkpoint, state, "last");
  for (int64_t i = 3; i < 6; ++i) broken.step.update({{i, i + 1}});
  EXPECT_TRUE(torch::equal(broken.linear->weight, unbroken.linear->weight));
  EXPECT_TRUE(torch::equal(broken.linear->bias, unbroken.linear->bias));
  EXPECT_EQ(broken.step.state().updates, 6);
  EXPECT_EQ(broken.step.window_loss(), unbroken.step.window_loss());
  const auto a = broken.step.use_averages();
  const auto b = unbroken.step.use_averages();
  EXPECT_TRUE(torch::equal(broken.linear->weight, unbroken.linear->weight));
}

TEST_F(UpdateStepTest, KeepsAveragesOfTheWeightsWhereTheyAreAskedFor) {
  EXPECT_EQ(SmallModel().step.use_averages(), nullptr);
  SmallModel model(1e-1, 0.0, /*smoothing=*/1e-4);
  const auto first = model.linear->weight.detach().clone();
  model.step.update({{1, 2}});
  const auto second = model.linear->weight.detach().clone();
  {
    const auto averages = model.step.use_averages();
    EXPECT_TRUE(all_close(model.linear->weight, first + 9.0 / 11.0 * (second - first)));
    EXPECT_FALSE(torch::equal(model.linear->weight, second));
  }
  EXPECT_TRUE(torch::equal(model.linear->weight, second));

  Checkpoint checkpoint;
  model.step.store(checkpoint);
  const auto average = checkpoint.tensors.at("average.weight");
  checkpoint.tensors.erase("average.bias");
  std::string text;
  try {
    model.step.restore(checkpoint, StepState(), "last");
  } catch (const CheckpointError& error) {
    text = error.what();
  }
  EXPECT_EQ(text, "last: expected average.bias, Float of shape [1], but it is missing");
  use_averages(checkpoint);
  EXPECT_TRUE(torch::equal(checkpoint.tensors.at("model.weight"), average));
  EXPECT_EQ(checkpoint.tensors.count("average.weight"), 0U);
}

}  // namespace
}  // namespace evenkeel::examples
