// SPDX-License-Identifier: MIT
#include <evenkeel/train/moving_average.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <stdexcept>
#include <vector>

namespace evenkeel::train {
namespace {

using test::all_close;
using test::throws;

class MovingAverageTest : public ::testing::Test {
 protected:
  MovingAverageTest() { torch::manual_seed(0); }
};

// Marian's formula, by hand: 9/11, 9/12, ... until that is below the decay.
TEST_F(MovingAverageTest, TakesMoreOfTheWeightsAtFirst) {
  EXPECT_DOUBLE_EQ(moving_average_share(1, 1e-4), 9.0 / 11.0);
  EXPECT_DOUBLE_EQ(moving_average_share(2, 1e-4), 9.0 / 12.0);
  EXPECT_DOUBLE_EQ(moving_average_share(8990, 1e-3), 1e-3);
  EXPECT_DOUBLE_EQ(moving_average_share(1'000'000, 1e-4), 1e-4);
}

TEST_F(MovingAverageTest, IsTheWeightedMeanOfAllWeightsSoFar) {
  for (const auto& device : test::devices()) {
    for (const auto dtype : {torch::kFloat64, torch::kFloat32, torch::kBFloat16}) {
      const auto parameter = torch::randn({3, 5}).to(device, dtype);
      auto expected = parameter.to(torch::kFloat64).clone();
      ExponentialMovingAverage average({parameter}, 0.8);
      for (int64_t t = 1; t <= 5; ++t) {
        parameter.copy_(torch::randn({3, 5}));
        average.update(t);
        const double share = t == 1 ? 9.0 / 11.0 : 0.8;
        expected = (1.0 - share) * expected + share * parameter.to(torch::kFloat64);
      }
      const auto& found = average.averages().front();
      EXPECT_EQ(found.scalar_type(), dtype == torch::kBFloat16 ? torch::kFloat32 : dtype);
      EXPECT_TRUE(all_close(found, expected.to(found.scalar_type())));
    }
  }
}

TEST_F(MovingAverageTest, ParametersAreTheirAveragesForAWhileAndThenWhatTheyWere) {
  torch::nn::Linear linear(4, 3);
  ExponentialMovingAverage average(linear->parameters(), 0.5);
  const auto before = linear->weight.detach().clone();
  {
    const torch::NoGradGuard no_grad;
    linear->weight.add_(1.0 / 3.0);
  }
  average.update(100);
  const auto now = linear->weight.detach().clone();
  {
    const UseAverages averages(average);
    EXPECT_TRUE(all_close(linear->weight, (before + now) / 2.0));
    EXPECT_TRUE(linear->weight.requires_grad());
  }
  EXPECT_TRUE(torch::equal(linear->weight, now));
  try {
    const UseAverages averages(average);
    throw std::runtime_error("validation");
  } catch (const std::runtime_error&) {
  }
  EXPECT_TRUE(torch::equal(linear->weight, now));
}

TEST_F(MovingAverageTest, GoesOnFromSavedAveragesBitForBit) {
  const auto parameter = torch::randn({7});
  ExponentialMovingAverage unbroken({parameter}, 1e-2);
  unbroken.update(1);
  ExponentialMovingAverage resumed({parameter}, 1e-2);
  resumed.averages().front().copy_(unbroken.averages().front());
  parameter.copy_(torch::randn({7}));
  unbroken.update(2);
  resumed.update(2);
  EXPECT_TRUE(torch::equal(resumed.averages().front(), unbroken.averages().front()));
}

TEST_F(MovingAverageTest, RefusesADecayThatIsNoShare) {
  for (const double decay : {0.0, 1.0, -0.5}) {
    EXPECT_TRUE(throws<c10::Error>([&] { ExponentialMovingAverage({torch::ones(1)}, decay); },
                                   "ExponentialMovingAverage: expected decay above 0 and below 1"));
  }
}

}  // namespace
}  // namespace evenkeel::train
