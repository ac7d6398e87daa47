// SPDX-License-Identifier: MIT
#include <evenkeel/train/schedule.hpp>

#include "errors.hpp"
#include "formula.hpp"

#include <gtest/gtest.h>
#include <torch/optim/schedulers/reduce_on_plateau_scheduler.h>
#include <torch/optim/sgd.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel::train {
namespace {

using test::all_close;
using test::throws;
using Error = std::invalid_argument;

TEST(InverseSqrtTest, RisesLinearlyToThePeak) {
  EXPECT_TRUE(all_close(inverse_sqrt_lr(1, 1e-3, 4000), 2.5e-7));
  EXPECT_TRUE(all_close(inverse_sqrt_lr(1000, 1e-3, 4000), 2.5e-4));
  EXPECT_TRUE(all_close(inverse_sqrt_lr(4000, 1e-3, 4000), 1e-3));
}

TEST(InverseSqrtTest, ThenFallsWithTheRootOfTheStep) {
  EXPECT_TRUE(all_close(inverse_sqrt_lr(16000, 1e-3, 4000), 5e-4));
  EXPECT_TRUE(all_close(inverse_sqrt_lr(400000, 1e-3, 4000), 1e-4));
  EXPECT_LT(inverse_sqrt_lr(4001, 1e-3, 4000), 1e-3);
}

TEST(InverseSqrtTest, IsThePapersWithItsPeak) {  // d^-.5 min(t^-.5, t w^-1.5), d = 512, w = 4000
  const double peak = 1.0 / std::sqrt(512.0 * 4000.0);
  for (const int64_t step : {1, 100, 3999, 4000, 4001, 100000}) {
    const auto t = static_cast<double>(step);
    const double paper =
        std::min(1.0 / std::sqrt(t), t * std::pow(4000.0, -1.5)) / std::sqrt(512.0);
    EXPECT_TRUE(all_close(inverse_sqrt_lr(step, peak, 4000) / peak, paper / peak)) << step;
  }
}

TEST(InverseSqrtTest, CountsFromOne) {
  EXPECT_TRUE(throws<Error>([] { inverse_sqrt_lr(0, 1e-3, 4000); },
                            "inverse_sqrt_lr: expected step and warmup >= 1, but got 0 and 4000"));
  EXPECT_TRUE(throws<Error>([] { inverse_sqrt_lr(1, 1e-3, 0); },
                            "inverse_sqrt_lr: expected step and warmup >= 1, but got 1 and 0"));
}

TEST(InverseSqrtNoWarmupTest, FallsFromThePeak) {  // lr * sqrt(P / (P + t)), P = 4000
  EXPECT_TRUE(all_close(inverse_sqrt_no_warmup_lr(4000, 1.0, 4000), 0.70710678118654752440));
  EXPECT_TRUE(all_close(inverse_sqrt_no_warmup_lr(12000, 1.0, 4000), 0.5));
  EXPECT_TRUE(all_close(inverse_sqrt_no_warmup_lr(1, 1.0, 1), 0.70710678118654752440));
  EXPECT_TRUE(all_close(inverse_sqrt_no_warmup_lr(12000, 5e-4, 4000), 2.5e-4));
}

TEST(InverseSqrtNoWarmupTest, CountsFromOne) {
  EXPECT_TRUE(throws<Error>(
      [] { inverse_sqrt_no_warmup_lr(0, 1e-3, 4000); },
      "inverse_sqrt_no_warmup_lr: expected step and decay_period >= 1, but got 0 and 4000"));
  EXPECT_TRUE(throws<Error>(
      [] { inverse_sqrt_no_warmup_lr(1, 1e-3, 0); },
      "inverse_sqrt_no_warmup_lr: expected step and decay_period >= 1, but got 1 and 0"));
}

TEST(LinearTest, RisesToThePeakThenFallsToZero) {
  EXPECT_TRUE(all_close(linear_lr(1, 1e-3, 50, 1000), 2e-5));
  EXPECT_TRUE(all_close(linear_lr(50, 1e-3, 50, 1000), 1e-3));
  EXPECT_TRUE(all_close(linear_lr(525, 1e-3, 50, 1000), 5e-4));
  EXPECT_TRUE(all_close(linear_lr(999, 1e-3, 50, 1000), 1e-3 / 950.0));
  EXPECT_EQ(linear_lr(1000, 1e-3, 50, 1000), 0.0);
  EXPECT_EQ(linear_lr(2000, 1e-3, 50, 1000), 0.0);
}

TEST(LinearTest, WithoutWarmUpFallsFromTheStart) {
  EXPECT_TRUE(all_close(linear_lr(1, 1.0, 0, 4), 0.75));
  EXPECT_TRUE(all_close(linear_lr(3, 1.0, 0, 4), 0.25));
}

TEST(LinearTest, RefusesWhatIsOutOfRange) {
  const std::string text =
      "linear_lr: expected step >= 1, warmup >= 0 and steps >= warmup, but got ";
  EXPECT_TRUE(throws<Error>([] { linear_lr(0, 1e-3, 5, 9); }, text + "0, 5 and 9"));
  EXPECT_TRUE(throws<Error>([] { linear_lr(1, 1e-3, -1, 9); }, text + "1, -1 and 9"));
  EXPECT_TRUE(throws<Error>([] { linear_lr(1, 1e-3, 10, 9); }, text + "1, 10 and 9"));
}

TEST(CosineTest, RisesToThePeakThenFallsAsHalfACosine) {
  EXPECT_TRUE(all_close(cosine_lr(25, 1e-3, 50, 1000), 5e-4));
  EXPECT_TRUE(all_close(cosine_lr(50, 1e-3, 50, 1000), 1e-3));
  EXPECT_TRUE(all_close(cosine_lr(525, 1e-3, 50, 1000), 5e-4));
  // (1 + cos(pi / 4)) / 2
  EXPECT_TRUE(all_close(cosine_lr(1, 1.0, 0, 4), 0.85355339059327376220));
  EXPECT_TRUE(all_close(cosine_lr(3, 1.0, 0, 4), 0.14644660940672623780));
  EXPECT_EQ(cosine_lr(1000, 1e-3, 50, 1000), 0.0);
  EXPECT_EQ(cosine_lr(2000, 1e-3, 50, 1000), 0.0);
}

TEST(CosineTest, RefusesWhatIsOutOfRange) {
  EXPECT_TRUE(throws<Error>(
      [] { cosine_lr(1, 1e-3, 10, 9); },
      "cosine_lr: expected step >= 1, warmup >= 0 and steps >= warmup, but got 1, 10 and 9"));
}

TEST(ConstantTest, RisesToThePeakAndStaysThere) {
  EXPECT_TRUE(all_close(constant_lr(1, 1e-3, 50), 2e-5));
  EXPECT_EQ(constant_lr(50, 1e-3, 50), 1e-3);
  EXPECT_EQ(constant_lr(1'000'000, 1e-3, 50), 1e-3);
  EXPECT_EQ(constant_lr(1, 1e-3, 0), 1e-3);
}

TEST(ConstantTest, RefusesWhatIsOutOfRange) {
  EXPECT_TRUE(throws<Error>([] { constant_lr(0, 1e-3, 5); },
                            "constant_lr: expected step >= 1 and warmup >= 0, but got 0 and 5"));
}

// Validation losses on a grid, so that float and double agree on what is better.
TEST(PlateauTest, ReducesWhereLibTorchDoes) {
  torch::manual_seed(0);
  for (const int64_t patience : {0, 1, 3}) {
    const auto parameter = torch::zeros({1}, torch::requires_grad());
    torch::optim::SGD optimizer({parameter}, /*lr=*/1.0);
    constexpr float kFactor = 0.5F;
    constexpr double kThreshold = 0.125;
    torch::optim::ReduceLROnPlateauScheduler scheduler(
        optimizer,
        torch::optim::ReduceLROnPlateauScheduler::min,
        kFactor,
        static_cast<int>(patience),
        kThreshold,
        torch::optim::ReduceLROnPlateauScheduler::abs);
    double lr = 1.0;
    double to_beat = 1e9;
    int64_t stalled = 0;
    for (int64_t validation = 0; validation < 20; ++validation) {
      const double loss =
          10.0 - 0.0625 * static_cast<double>(torch::randint(32, {1}).item<int64_t>());
      scheduler.step(static_cast<float>(loss));
      if (loss < to_beat - kThreshold) {
        to_beat = loss;
        stalled = 0;
      } else if (reduce_on_plateau(++stalled, patience)) {
        lr *= kFactor;
      }
      EXPECT_EQ(optimizer.param_groups().front().options().get_lr(), lr) << validation;
    }
    EXPECT_LT(lr, 1.0);
  }
}

TEST(PlateauTest, ReducesAgainAfterAsManyMore) {
  std::vector<int64_t> reduced;
  for (int64_t stalled = 0; stalled <= 9; ++stalled) {
    if (reduce_on_plateau(stalled, 2)) reduced.push_back(stalled);
  }
  EXPECT_EQ(reduced, (std::vector<int64_t>{3, 6, 9}));
  EXPECT_TRUE(
      throws<Error>([] { reduce_on_plateau(-1, 2); },
                    "reduce_on_plateau: expected stalled and patience >= 0, but got -1 and 2"));
}

}  // namespace
}  // namespace evenkeel::train
