// SPDX-License-Identifier: MIT
// The kernel of the gradients needs a GPU; elsewhere these tests compare operators.
#include <evenkeel/kernels/detail/biased_linear.hpp>

#include "fixture.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

namespace evenkeel::detail {
namespace {

class BiasedLinearTest : public test::DeviceTest {
 protected:
  struct Problem {
    torch::Tensor x, weight, bias;
  };

  static Problem problem(int64_t rows, int64_t in, int64_t out, torch::ScalarType type) {
    const auto make = [&](torch::IntArrayRef shape) {
      return torch::randn(shape).to(options(type)).requires_grad_();
    };
    return {make({rows, 3, in}), make({out, in}), make({out})};
  }

  static torch::Tensor exact(const torch::Tensor& tensor) {
    return tensor.detach().cpu().to(torch::kFloat64).requires_grad_();
  }

  static double error(const torch::Tensor& got, const torch::Tensor& wanted) {
    const auto difference = got.detach().cpu().to(torch::kFloat64) - wanted.detach();
    return (difference.norm() / wanted.detach().norm()).item<double>();
  }
};
INSTANTIATE_TEST_SUITE_P(Devices,
                         BiasedLinearTest,
                         ::testing::ValuesIn(test::devices()),
                         test::device_name);

TEST_P(BiasedLinearTest, OutputAndGradientsAreThoseInDouble) {
  for (const auto& [rows, out] : std::vector<std::tuple<int64_t, int64_t>>{{1, 8},
                                                                           {5, 64},
                                                                           {40, 512},
                                                                           {1000, 1536},
                                                                           {33, 1000},
                                                                           {20, 4096},
                                                                           {7, 8192}}) {
    for (const auto type : {torch::kBFloat16, torch::kHalf, torch::kFloat32}) {
      for (const bool relu : {false, true}) {
        const auto low = problem(rows, 32, out, type);
        const Problem high{exact(low.x), exact(low.weight), exact(low.bias)};
        const auto y = biased_linear(low.x, low.weight, low.bias, relu);
        const auto wanted = linear_by_operators(high.x, high.weight, high.bias, relu);
        const auto dy = torch::randn(y.sizes()).to(options(type));
        const auto gradients = torch::autograd::grad({y}, {low.x, low.weight, low.bias}, {dy});
        const auto exact_gradients =
            torch::autograd::grad({wanted}, {high.x, high.weight, high.bias}, {exact(dy).detach()});
        const double most = type == torch::kFloat32 ? 2e-3 : type == torch::kHalf ? 4e-3 : 1e-2;
        EXPECT_LT(error(y, wanted), most) << out;
        for (size_t i = 0; i < 3; ++i) {
          // an output close to 0 may be on either side of the ReLU
          EXPECT_LT(error(gradients[i], exact_gradients[i]), relu ? 6e-2 : most)
              << out << ' ' << type << ", input " << i;
        }
      }
    }
  }
}

TEST_P(BiasedLinearTest, HasGradientsOfItsOwnOnCuda) {
  const auto low = problem(16, 32, 64, torch::kBFloat16);
  const auto y = biased_linear(low.x, low.weight, low.bias);
  const bool own = y.grad_fn()->name().find("BiasedLinear") != std::string::npos;
  EXPECT_EQ(own, device().is_cuda()) << y.grad_fn()->name();
}

TEST_P(BiasedLinearTest, CanBeDifferentiatedTwice) {
  const auto low = problem(4, 16, 8, torch::kBFloat16);
  const auto y = biased_linear(low.x, low.weight, low.bias, /*relu=*/true);
  const auto first = torch::autograd::grad({y.square().sum()},
                                           {low.x},
                                           {},
                                           /*retain_graph=*/true,
                                           /*create_graph=*/true)[0];
  const auto second = torch::autograd::grad({first.square().sum()}, {low.bias})[0];
  EXPECT_TRUE(second.isfinite().all().item<bool>());
  EXPECT_GT(second.abs().max().item<double>(), 0.0);
}

TEST_P(BiasedLinearTest, SomeGradientsMayNotBeWanted) {
  auto low = problem(4, 16, 8, torch::kBFloat16);
  const auto x = low.x.detach();
  const auto y = biased_linear(x, low.weight.detach(), low.bias);
  y.sum().backward();
  EXPECT_EQ(low.bias.grad()[0].item<double>(), 12.0);
  EXPECT_FALSE(low.weight.grad().defined());
}

}  // namespace
}  // namespace evenkeel::detail
