// SPDX-License-Identifier: MIT
#include <evenkeel/train/cross_entropy.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/nn/functional/loss.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

namespace evenkeel::train {
namespace {

class CrossEntropySumTest : public test::DeviceTest {
 protected:
  static double error(const torch::Tensor& got, const torch::Tensor& wanted) {
    const auto difference = got.detach().cpu().to(torch::kFloat64) - wanted.detach();
    return (difference.norm() / wanted.detach().norm()).item<double>();
  }
};
INSTANTIATE_TEST_SUITE_P(Devices,
                         CrossEntropySumTest,
                         ::testing::ValuesIn(test::devices()),
                         test::device_name);

TEST_P(CrossEntropySumTest, IsLibTorchsInDouble) {
  for (const auto type : {torch::kBFloat16, torch::kHalf, torch::kFloat32, torch::kFloat64}) {
    for (const int64_t columns : {8, 50, 1000, 10'000}) {
      for (const double smoothing : {0.0, 0.1}) {
        SCOPED_TRACE(std::to_string(columns));
        auto logits = (3 * torch::randn({37, columns})).to(options(type)).requires_grad_();
        auto exact = logits.detach().cpu().to(torch::kFloat64).requires_grad_();
        auto targets = torch::randint(columns, {37});
        targets[4] = 1;
        targets[9] = 1;
        const auto loss = cross_entropy_sum(logits, targets.to(device()), smoothing, 1);
        const auto wanted =
            torch::nn::functional::cross_entropy(exact,
                                                 targets,
                                                 torch::nn::functional::CrossEntropyFuncOptions()
                                                     .reduction(torch::kSum)
                                                     .label_smoothing(smoothing)
                                                     .ignore_index(1));
        (loss * 0.5).backward();
        (wanted * 0.5).backward();
        EXPECT_EQ(loss.dim(), 0);
        EXPECT_EQ(loss.scalar_type(), type == torch::kFloat64 ? type : torch::kFloat32);
        EXPECT_LT(error(loss, wanted), type == torch::kFloat64 ? 1e-12 : 2e-6);
        const double most = type == torch::kBFloat16 ? 4e-3 : type == torch::kHalf ? 2e-3 : 2e-6;
        EXPECT_LT(error(logits.grad(), exact.grad()), most);
        EXPECT_EQ(logits.grad()[4].abs().max().item<double>(), 0.0);
      }
    }
  }
}

TEST_P(CrossEntropySumTest, LargeLogitsDoNotOverflow) {
  auto logits = torch::zeros({2, 16}, options(torch::kBFloat16));
  logits[0][3] = 3e4;
  logits[1].fill_(-3e4);
  const auto loss = cross_entropy_sum(logits, torch::tensor({3, 5}).to(device()));
  EXPECT_NEAR(loss.item<double>(), std::log(16.0), 1e-2);
}

TEST_P(CrossEntropySumTest, WithoutARowThatCountsItIsZero) {
  auto logits = torch::randn({3, 16}).to(options(torch::kBFloat16)).requires_grad_();
  const auto loss = cross_entropy_sum(logits, torch::full({3}, 2).to(device()), 0.1, 2);
  loss.backward();
  EXPECT_EQ(loss.item<double>(), 0.0);
  EXPECT_EQ(logits.grad().abs().max().item<double>(), 0.0);
}

TEST_P(CrossEntropySumTest, CanBeDifferentiatedTwice) {
  auto logits = torch::randn({3, 16}).to(options(torch::kBFloat16)).requires_grad_();
  const auto targets = torch::tensor({3, 5, 7}).to(device());
  const auto loss = cross_entropy_sum(logits, targets, 0.1);
  const auto first = torch::autograd::grad({loss}, {logits}, {}, true, /*create_graph=*/true)[0];
  const auto second = torch::autograd::grad({first.square().sum()}, {logits})[0];
  EXPECT_GT(second.abs().max().item<double>(), 0.0);
  EXPECT_TRUE(second.isfinite().all().item<bool>());
}

TEST_P(CrossEntropySumTest, SaysWhatItExpects) {
  const auto logits = torch::zeros({2, 8}, options());
  const auto targets = torch::zeros({2}, options(torch::kInt64));
  EXPECT_TRUE(test::throws([&] { cross_entropy_sum(logits, targets.narrow(0, 0, 1)); },
                           "expected logits of shape [rows, columns]"));
  EXPECT_TRUE(
      test::throws([&] { cross_entropy_sum(logits, targets, 1.5); }, "label_smoothing in [0, 1]"));
}

}  // namespace
}  // namespace evenkeel::train
