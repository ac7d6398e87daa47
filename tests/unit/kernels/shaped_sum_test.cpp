// SPDX-License-Identifier: MIT
// The kernels of shaped attention's sum need a GPU; elsewhere these tests compare operators.
#include <evenkeel/kernels/detail/shaped_sum.hpp>

#include "all_close.hpp"
#include "fixture.hpp"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace evenkeel::detail {
namespace {

struct ShapedCase {
  int64_t length;
  int64_t dim;
  torch::ScalarType a;
  torch::ScalarType v;
  std::array<int64_t, 3> gains;  // their numbers; 0: none
  bool identity;
  bool centred;
  bool causal;
};

constexpr int64_t kBatch = 3;
constexpr int64_t kHeads = 4;

std::vector<ShapedCase> shaped_cases() {
  const auto f = torch::kFloat32;
  const auto b = torch::kBFloat16;
  const auto h = torch::kHalf;
  return {{1, 8, f, f, {4, 4, 4}, true, true, true},
          {7, 64, b, b, {4, 4, 4}, true, true, true},
          {512, 64, b, b, {4, 4, 4}, true, true, true},
          {700, 64, f, f, {4, 4, 4}, true, true, true},
          {700, 64, h, h, {4, 1, 0}, true, true, false},
          {33, 96, f, f, {0, 0, 0}, true, true, true},
          {300, 80, b, f, {1, 4, 1}, true, true, true},  // as under autocast
          {130, 256, f, f, {4, 4, 4}, true, true, true},
          {65, 256, b, b, {4, 4, 4}, true, true, false},
          {65, 12, f, f, {4, 4, 4}, true, false, true},
          {129, 16, f, f, {4, 4, 4}, false, true, true},
          {129, 16, f, f, {4, 4, 4}, false, true, false},
          {40, 5, f, f, {4, 4, 4}, true, true, true},
          {40, 300, f, f, {4, 4, 4}, true, true, true}};  // operators
}

class ShapedSumTest : public test::DeviceTest {
 protected:
  /// A sum, and a matrix in place of the softmax.
  struct Problem {
    ShapedSum sum;
    at::Tensor softmax;
    torch::ScalarType type;  // of a

    at::Tensor y() const {
      return shaped_sum(sum, type, [&](const at::Tensor& v) {
        return softmax.to(v.scalar_type()).matmul(v).to(type);
      });
    }
  };

  /// Of leaves; heads lie as a projection leaves them.
  static Problem problem(const ShapedCase& c) {
    const auto gain = [&](int64_t count) {
      return count == 0 ? at::Tensor() : randn({count}).to(c.a).requires_grad_();
    };
    const auto v = randn({kBatch, c.length, kHeads, c.dim}).to(c.v).transpose(1, 2);
    const auto softmax = randn({c.length, c.length}) / std::sqrt(static_cast<double>(c.length));
    return {{v.requires_grad_(),
             gain(c.gains[0]),
             gain(c.gains[1]),
             gain(c.gains[2]),
             c.identity,
             c.centred,
             c.causal},
            softmax.to(c.a),
            c.a};
  }

  /// The same numbers in float64.
  static Problem in_float64(Problem p) {
    for (auto* tensor : p.sum.inputs()) {
      if (tensor->defined()) *tensor = tensor->detach().to(torch::kFloat64).requires_grad_();
    }
    p.softmax = p.softmax.to(torch::kFloat64);
    p.type = torch::kFloat64;
    return p;
  }

  /// The sum by a matrix for each head.
  static at::Tensor by_matrix(const Problem& p) {
    const auto& sum = p.sum;
    const auto length = sum.v.size(2);
    const auto eye = torch::eye(length, p.softmax.options());
    auto mean = torch::ones_like(eye);
    if (sum.causal) mean = mean.tril();
    mean = mean / mean.sum(1, /*keepdim=*/true);
    const auto by_head = [&](const at::Tensor& gain) {
      return gain.defined() ? gain.view({-1, 1, 1}) : torch::ones({1, 1, 1}, eye.options());
    };
    auto weights = by_head(sum.beta) * p.softmax;
    if (sum.identity) weights = weights + by_head(sum.alpha) * eye;
    if (sum.centred) weights = weights - by_head(sum.gamma) * mean;
    return weights.matmul(sum.v);
  }

  static std::vector<at::Tensor> wanted(Problem& p) {
    std::vector<at::Tensor> inputs;
    for (const auto* tensor : p.sum.inputs()) {
      if (tensor->defined()) inputs.push_back(*tensor);
    }
    return inputs;
  }

  /// Within what rounding to that type makes of numbers of the size of the largest.
  static ::testing::AssertionResult is_near(const at::Tensor& actual,
                                            const at::Tensor& expected,
                                            torch::ScalarType type = torch::kFloat32) {
    if (!actual.defined() || !expected.defined()) {
      return actual.defined() == expected.defined()
                 ? ::testing::AssertionSuccess()
                 : ::testing::AssertionFailure() << "one of two tensors is undefined";
    }
    const double eps = type == torch::kFloat32 ? 3e-6 : type == torch::kBFloat16 ? 2e-2 : 3e-3;
    const double size = expected.abs().max().item<double>() + 1e-30;
    return test::detail::compare(actual.to(torch::kFloat64) / size,
                                 expected.detach() / size,
                                 {0.0, eps});
  }
};

TEST_P(ShapedSumTest, IsThatOfTheMatrix) {
  for (const auto& c : shaped_cases()) {
    SCOPED_TRACE(testing::Message() << c.length << " x " << c.dim << ", " << c.a << ", " << c.v);
    auto p = problem(c);
    auto exact = in_float64(p);
    const auto y = p.y();
    const auto expected = by_matrix(exact);
    EXPECT_EQ(y.scalar_type(), c10::promoteTypes(c.a, c.v));
    EXPECT_TRUE(is_near(y, expected, c.a));
    const auto dy = torch::randn_like(expected).to(y.scalar_type());
    const auto actual =
        torch::autograd::grad({y}, wanted(p), {dy}, {}, false, /*allow_unused=*/true);
    const auto gradients = torch::autograd::grad({expected},
                                                 wanted(exact),
                                                 {dy.to(torch::kFloat64)},
                                                 {},
                                                 false,
                                                 /*allow_unused=*/true);
    for (size_t i = 0; i < actual.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "gradient " << i);
      EXPECT_TRUE(is_near(actual[i], gradients[i], c.a));
      if (!actual[i].defined()) continue;
      EXPECT_EQ(actual[i].scalar_type(), wanted(p)[i].scalar_type());
    }
  }
}

TEST_P(ShapedSumTest, KernelsServeSelfAttentionOnAGpuAlone) {
  auto p = problem(shaped_cases()[2]);
  EXPECT_EQ(shaped_form(p.sum, p.type).has_value(), device().is_cuda());
  auto wide = problem(shaped_cases().back());
  EXPECT_FALSE(shaped_form(wide.sum, wide.type));
  auto exact = in_float64(p);
  EXPECT_FALSE(shaped_form(exact.sum, exact.type));
}

/// Only what is asked for is computed, and nothing depends on the rest.
TEST_P(ShapedSumTest, EachGradientAloneIsTheSame) {
  auto p = problem(shaped_cases()[3]);
  const auto y = p.y();
  const auto dy = torch::randn_like(y);
  const auto inputs = wanted(p);
  const auto all = torch::autograd::grad({y}, inputs, {dy}, /*retain_graph=*/true);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto one = torch::autograd::grad({y}, {inputs[i]}, {dy}, /*retain_graph=*/true);
    EXPECT_TRUE(test::same_bits(one.front(), all[i])) << i;
  }
}

TEST_P(ShapedSumTest, CanBeDifferentiatedTwice) {
  auto p = problem({20, 8, torch::kFloat32, torch::kFloat32, {4, 1, 4}, true, true, true});
  auto exact = in_float64(p);
  const auto second = [](Problem& of, const at::Tensor& y) {
    const auto dy = torch::ones_like(y).requires_grad_();
    const auto first = torch::autograd::grad({y}, wanted(of), {dy}, {}, /*create_graph=*/true);
    at::Tensor total;
    for (const auto& gradient : first) {
      const auto part = gradient.pow(2).sum();
      total = total.defined() ? total + part : part;
    }
    return torch::autograd::grad({total}, wanted(of), {}, {}, false, /*allow_unused=*/true);
  };
  const auto actual = second(p, p.y());
  const auto expected = second(exact, by_matrix(exact));
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_TRUE(is_near(actual[i], expected[i])) << i;
}

/// Layouts that kernels cannot read as they are: columns apart, a pointer that is not aligned, one
/// row for all.
TEST_P(ShapedSumTest, TakesAnyLayout) {
  const auto attended = randn({kBatch, kHeads, 16, 40}).transpose(2, 3);
  const std::vector<at::Tensor> layouts{randn({kBatch, kHeads, 16, 40}).transpose(2, 3),
                                        randn({kBatch * kHeads * 40 * 16 + 1})
                                            .narrow(0, 1, kBatch * kHeads * 40 * 16)
                                            .view({kBatch, kHeads, 40, 16}),
                                        randn({1, kHeads, 1, 16}).expand({kBatch, kHeads, 40, 16}),
                                        randn({kBatch, kHeads, 40, 16})};
  const auto softmax = randn({40, 40});
  for (const auto& v : layouts) {
    const Problem p{{v, {}, randn({kHeads}), {}}, softmax, torch::kFloat32};
    EXPECT_TRUE(is_near(p.y(), by_matrix(in_float64(p))));
    // What attention gives may have any layout, too.
    const ShapedSum plain{v, {}, {}, {}};
    const auto y = shaped_sum(plain, p.type, [&](const at::Tensor&) { return attended; });
    const auto rest = by_matrix(in_float64({plain, torch::zeros_like(softmax), p.type}));
    EXPECT_TRUE(is_near(y, attended.to(torch::kFloat64) + rest));
  }
}

EVENKEEL_ON_EVERY_DEVICE(ShapedSumTest);

}  // namespace
}  // namespace evenkeel::detail
