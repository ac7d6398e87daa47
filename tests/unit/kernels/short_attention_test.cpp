// SPDX-License-Identifier: MIT
// The kernels of short attention need a GPU; elsewhere these tests compare operators.
#include <evenkeel/kernels/detail/short_attention.hpp>

#include "all_close.hpp"
#include "fixture.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>
#include <vector>

namespace evenkeel::detail {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

struct Case {
  int64_t queries;
  int64_t keys;
  int64_t dim;
  torch::ScalarType type;
  bool mask;
  bool causal;
  bool packed = false;
};

std::ostream& operator<<(std::ostream& stream, const Case& of) {
  return stream << of.queries << " x " << of.keys << " of " << of.dim << ' ' << of.type
                << (of.mask ? " masked" : "") << (of.causal ? " causal" : "")
                << (of.packed ? " packed" : "");
}

std::vector<Case> cases() {
  const auto b = torch::kBFloat16;
  const auto h = torch::kHalf;
  return {{1, 1, 16, b, false, false},
          {7, 7, 64, b, false, true},
          {16, 16, 128, b, true, false},
          {13, 29, 128, b, true, false},
          {33, 33, 128, b, false, true, true},
          {64, 64, 128, b, true, false, true},
          {55, 17, 64, h, true, false},
          {1, 64, 32, b, true, false},
          {5, 9, 48, h, false, true},
          {64, 64, 64, b, false, true},
          {100, 100, 64, b, true, true},
          {128, 128, 128, h, true, false},
          {128, 128, 64, b, false, true}};
}

class ShortAttentionTest : public test::DeviceTest {
 protected:
  static constexpr int64_t kBatch = 3;
  static constexpr int64_t kHeads = 2;

  static ShortAttention problem(const Case& of) {
    const auto make = [&](int64_t length) {
      return torch::randn({kBatch, kHeads, length, of.dim}).to(options(of.type));
    };
    ShortAttention made{make(of.queries), make(of.keys), make(of.keys), {}, of.causal};
    if (of.packed) {
      const auto all = torch::randn({kBatch, of.keys, 3, kHeads, of.dim}).to(options(of.type));
      made.q = all.select(2, 0).transpose(1, 2);
      made.k = all.select(2, 1).transpose(1, 2);
      made.v = all.select(2, 2).transpose(1, 2);
    }
    if (of.mask) {
      made.mask = torch::zeros({kBatch, 1, 1, of.keys}, options(of.type));
      made.mask.narrow(0, 1, 1).narrow(3, of.keys - of.keys / 3, of.keys / 3).fill_(kNever);
      made.mask.narrow(0, 2, 1).fill_(kNever);  // its queries see nothing
    }
    return made;
  }

  static ShortAttention in_double(const ShortAttention& of) {
    auto made = of;
    for (auto* tensor : {&made.q, &made.k, &made.v}) {
      *tensor = tensor->detach().cpu().to(torch::kFloat64).requires_grad_();
    }
    if (made.mask.defined()) made.mask = made.mask.cpu().to(torch::kFloat64);
    return made;
  }

  static torch::Tensor attend(const ShortAttention& of) {
    const auto y = short_attention(of);
    return y.defined() ? y : attention_by_operators(of);
  }

  static double error(const torch::Tensor& got, const torch::Tensor& exact) {
    const auto difference = got.detach().cpu().to(torch::kFloat64) - exact.detach();
    return (difference.norm() / exact.detach().norm().clamp_min(1e-3)).item<double>();
  }
};
INSTANTIATE_TEST_SUITE_P(Devices,
                         ShortAttentionTest,
                         ::testing::ValuesIn(test::devices()),
                         test::device_name);

TEST_P(ShortAttentionTest, OutputAndGradientsAreThoseInDouble) {
  for (const auto& of : cases()) {
    auto low = problem(of);
    for (auto* tensor : {&low.q, &low.k, &low.v}) tensor->requires_grad_();
    auto exact = in_double(low);
    const auto y = attend(low);
    const auto exact_y = attention_by_operators(exact);
    const auto dy = torch::randn(y.sizes()).to(options(of.type));
    const auto gradients = torch::autograd::grad({y}, {low.q, low.k, low.v}, {dy});
    const auto exact_gradients = torch::autograd::grad({exact_y},
                                                       {exact.q, exact.k, exact.v},
                                                       {dy.cpu().to(torch::kFloat64)});
    EXPECT_EQ(y.scalar_type(), of.type) << of;
    EXPECT_LT(error(y, exact_y), 6e-3) << of;
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(gradients[i].isfinite().all().item<bool>()) << of << ", input " << i;
      if (of.keys == 1 && i < 2) continue;  // they are 0
      EXPECT_LT(error(gradients[i], exact_gradients[i]), 1.2e-2) << of << ", input " << i;
    }
    if (of.mask) {
      EXPECT_EQ(y.select(0, 2).abs().max().item<double>(), 0.0) << of;
      EXPECT_EQ(gradients[0].select(0, 2).abs().max().item<double>(), 0.0) << of;
    }
  }
}

TEST_P(ShortAttentionTest, HasKernelsOnCuda) {
  for (const auto& of : cases()) {
    if (of.keys > 64) continue;  // a smaller GPU may not have the memory
    EXPECT_EQ(short_attention(problem(of)).defined(), device().is_cuda()) << of;
  }
}

TEST_P(ShortAttentionTest, IsTheSameEachTime) {
  const auto low = problem({40, 50, 64, torch::kBFloat16, true, false});
  auto q = low.q.clone().requires_grad_();
  const auto gradient = [&] {
    return torch::autograd::grad({attend({q, low.k, low.v, low.mask, false}).sum()}, {q})[0];
  };
  EXPECT_TRUE(test::same_bits(gradient(), gradient()));
}

TEST_P(ShortAttentionTest, CanBeDifferentiatedTwice) {
  auto low = problem({6, 9, 16, torch::kBFloat16, true, false});
  low.mask = low.mask.narrow(0, 0, 1);
  auto exact = in_double(low);
  const auto second = [](ShortAttention& of, const torch::Tensor& y) {
    const auto first = torch::autograd::grad({y.square().sum()},
                                             {of.q},
                                             {},
                                             /*retain_graph=*/true,
                                             /*create_graph=*/true)[0];
    return torch::autograd::grad({first.square().sum()}, {of.k})[0];
  };
  for (auto* tensor : {&low.q, &low.k, &low.v}) tensor->requires_grad_();
  const auto got = second(low, attend(low));
  const auto wanted = second(exact, attention_by_operators(exact));
  EXPECT_LT(error(got, wanted), 0.05);
}

TEST_P(ShortAttentionTest, LeavesTheRestToOperators) {
  const auto undefined = [&](const ShortAttention& of) { return !short_attention(of).defined(); };
  EXPECT_TRUE(undefined(problem({5, 5, 16, torch::kFloat32, false, false})));
  EXPECT_TRUE(undefined(problem({5, 5, 24, torch::kBFloat16, false, false})));
  EXPECT_TRUE(undefined(problem({5, 200, 16, torch::kBFloat16, false, false})));
  auto by_query = problem({5, 6, 16, torch::kBFloat16, false, false});
  by_query.mask = torch::zeros({1, 1, 5, 6}, options(torch::kBFloat16));
  EXPECT_TRUE(undefined(by_query));
  auto trained = problem({5, 6, 16, torch::kBFloat16, true, false});
  trained.mask.requires_grad_();
  EXPECT_TRUE(undefined(trained));
}

}  // namespace
}  // namespace evenkeel::detail
