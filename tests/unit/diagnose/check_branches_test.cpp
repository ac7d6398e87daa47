// SPDX-License-Identifier: MIT
#include <evenkeel/diagnose/check_branches.hpp>

#include <evenkeel/init/apply_init.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/admin_residual.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "stacks.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::same_bits;
using test::throws;

// x <- omega * x + factor * x, twice.
struct OwnPairImpl : torch::nn::Module {
  explicit OwnPairImpl(double factor_) : factor(factor_) {}
  torch::Tensor forward(const torch::Tensor& x) {
    const auto y = first(x, factor * x);
    return second(y, factor * y);
  }
  double factor;
  AdminResidual<> first = register_module("first", AdminResidual<>(2));
  AdminResidual<> second = register_module("second", AdminResidual<>(2));
};

bool says(const BranchReport& report, const std::string& text) {
  return report.to_string().find(text) != std::string::npos;
}

class CheckBranchesTest : public test::DeviceTest {};

TEST_P(CheckBranchesTest, MeasuresVariancesAndShares) {
  OwnPairImpl pair(0.5);
  pair.to(device());
  const auto x = randn({64, 8});
  const auto report = check_branches(pair, [&] { pair.forward(x); });
  ASSERT_EQ(report.rows.size(), 2U);
  const double omega = omega_init(2);
  const double variance = x.var(/*unbiased=*/false).item<double>();
  EXPECT_EQ(report.rows[0].name, "first");
  EXPECT_NEAR(report.rows[0].input_variance, variance, 1e-4);
  EXPECT_NEAR(report.rows[0].omega, omega, 1e-6);
  EXPECT_NEAR(report.rows[0].branch_variance, 0.25 * variance, 1e-4);
  EXPECT_NEAR(report.rows[1].share(), 0.25 / (0.25 + omega * omega), 1e-5);
  EXPECT_NEAR(report.sum_of_shares(), 0.5 / (0.25 + omega * omega), 1e-5);
  EXPECT_NEAR(report.median_ratio(), 0.25, 1e-5);
  EXPECT_FALSE(report.logit_variance);
  EXPECT_TRUE(says(report, "The branches are as large as the scheme assumes."));
}

TEST_P(CheckBranchesTest, ABranchWithoutShortcutIsAllOfItsSum) {
  auto sas = on_device(nn::Encoder<PreNorm>(test::small_stack(2).block("sas-p")));
  const auto x = randn({2, 5, 8});
  const auto report = check_branches(sas, [&] { sas->forward(x); });
  ASSERT_EQ(report.rows.size(), 2U);
  for (const auto& row : report.rows) EXPECT_EQ(row.share(), 1.0);
}

TEST_P(CheckBranchesTest, SaysWhatIsFarFromWhatTheSchemeAssumes) {
  OwnPairImpl small(0.1);
  small.to(device());
  const auto x = 3.0 * randn({64, 8});
  const auto report = check_branches(small, [&] { return small.forward(x); });
  EXPECT_TRUE(
      says(report, "The branches are small: half of them have at most 0.010 of the variance"));
  EXPECT_TRUE(says(report, "The logits have a variance of"));
  EXPECT_TRUE(says(report, "SchemeInit"));

  const auto ids = randn({2, 5, 8});
  auto post = on_device(nn::Encoder<PostNorm>(test::small_stack(24)));
  const auto of_post = check_branches(post, [&] { post->forward(ids); });
  EXPECT_TRUE(says(of_post, "output_change_scale(OutputChangeScale::kO1)"));
  auto o1 = on_device(nn::Encoder<AdminO1>(test::small_stack(24)));
  const auto of_o1 = check_branches(o1, [&] { o1->forward(ids); });
  EXPECT_TRUE(of_o1.advice().empty()) << of_o1;
  EXPECT_LT(20.0 * of_o1.sum_of_shares(), of_post.sum_of_shares());
  // Shares are nothing to Pre-LN, whose stream grows instead.
  auto pre = on_device(nn::Encoder<PreNorm>(test::small_stack(24)));
  EXPECT_TRUE(check_branches(pre, [&] { pre->forward(ids); }).advice().empty());
}

TEST_P(CheckBranchesTest, LeavesTheModelAsItWas) {
  auto admin = on_device(nn::Encoder<Admin>(test::small_stack(2)));
  const auto x = randn({2, 5, 8});
  const auto before = admin->layers[0]->sublayer("self_attn").residual->omega.clone();
  check_branches(admin, [&] { return admin->forward(x); });
  EXPECT_TRUE(admin->is_training());
  EXPECT_TRUE(same_bits(admin->layers[0]->sublayer("self_attn").residual->omega, before));
  EXPECT_TRUE(throws([&] { check_branches(admin, [] {}); }, "but none ran in the forward pass"));
}

EVENKEEL_ON_EVERY_DEVICE(CheckBranchesTest);

}  // namespace
}  // namespace evenkeel
