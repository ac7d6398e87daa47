// SPDX-License-Identifier: MIT
#include <evenkeel/kernels/fused_residual.hpp>
#include <evenkeel/kernels/fused_residual_switch.hpp>

#include "operators.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <future>
#include <thread>

namespace evenkeel {
namespace {

TEST(FusedResidualGuardTest, EndsWithWhatItFound) {
  const bool before = fused_residual_enabled();
  {
    const FusedResidualGuard off(false);
    EXPECT_FALSE(fused_residual_enabled());
    {
      const FusedResidualGuard on(true);
      EXPECT_TRUE(fused_residual_enabled());
    }
    EXPECT_FALSE(fused_residual_enabled());
  }
  EXPECT_EQ(fused_residual_enabled(), before);
}

TEST(FusedResidualGuardTest, IsForItsOwnThread) {
  const FusedResidualGuard off(false);
  bool elsewhere = false;
  std::thread([&] { elsewhere = fused_residual_enabled(); }).join();
  EXPECT_TRUE(elsewhere);
}

// The first to begin is the first to end, as no nesting would have it.
TEST(FusedResidualGuardTest, LeavesNothingOffWhereTwoThreadsOverlap) {
  std::promise<void> first_began, second_began, first_ended;
  bool during_second = false;
  std::thread first([&] {
    {
      const FusedResidualGuard off(false);
      first_began.set_value();
      second_began.get_future().wait();
    }
    first_ended.set_value();
  });
  std::thread second([&] {
    first_began.get_future().wait();
    const FusedResidualGuard off(false);
    second_began.set_value();
    first_ended.get_future().wait();
    during_second = fused_residual_enabled();
  });
  first.join();
  second.join();
  EXPECT_FALSE(during_second);
  EXPECT_TRUE(fused_residual_enabled());
  set_fused_residual(true);  // whatever became of it
}

TEST(FusedResidualGuardTest, ComesBeforeTheSwitchOfTheProcess) {
  const FusedResidualGuard on(true);
  const bool before = set_fused_residual(false);
  EXPECT_TRUE(fused_residual_enabled());
  bool elsewhere = true;
  std::thread([&] { elsewhere = fused_residual_enabled(); }).join();
  EXPECT_FALSE(elsewhere);
  EXPECT_FALSE(set_fused_residual(before));
}

// Autograd's threads know nothing of a guard.
TEST(FusedResidualGuardTest, DecidesForBackwardWhenForwardRuns) {
  const auto x = torch::randn({4, 16}).requires_grad_();
  const auto norm = ResidualNorm::layer_norm({}, {});
  torch::Tensor y;
  {
    const FusedResidualGuard off(false);
    y = fused_residual({x, x}, norm);
  }
  EXPECT_EQ(
      test::operators_of([&] { y.sum().backward(); }).count("aten::native_layer_norm_backward"),
      1U);
  y = fused_residual({x, x}, norm);
  const FusedResidualGuard off(false);
  EXPECT_EQ(
      test::operators_of([&] { y.sum().backward(); }).count("aten::native_layer_norm_backward"),
      0U);
}

}  // namespace
}  // namespace evenkeel
