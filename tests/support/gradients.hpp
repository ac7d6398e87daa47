// SPDX-License-Identifier: MIT
#pragma once

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace evenkeel::test {

/// The gradients of f(), a float64 tensor, by autograd equal its central differences, for every
/// element of every one of `inputs`, leaves that f reads.
inline ::testing::AssertionResult gradients_are_right(const std::function<torch::Tensor()>& f,
                                                      const std::vector<torch::Tensor>& inputs) {
  constexpr double kStep = 1e-6;
  constexpr double kTolerance = 1e-6;  // of a central difference: step^2, and rounding / step
  for (const auto& input : inputs) {
    if (input.scalar_type() != torch::kFloat64 || !input.requires_grad()) {
      return ::testing::AssertionFailure() << "an input is not float64 or requires no gradient";
    }
  }
  const auto output = f();
  // Unlike weights for all outputs: a plain sum after a LayerNorm has no gradient at all.
  const auto cotangent = torch::randn_like(output.detach());
  const auto gradients = torch::autograd::grad({output}, inputs, {cotangent});
  const auto value = [&] { return (f() * cotangent).sum().item<double>(); };
  double largest = 0.0;
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < inputs.size(); ++i) {
    auto flat = inputs[i].detach().view({-1});
    const auto gradient = gradients[i].reshape({-1});
    for (int64_t j = 0; j < flat.numel(); ++j) {
      const auto at = flat[j].item<double>();
      flat[j].fill_(at + kStep);
      const double above = value();
      flat[j].fill_(at - kStep);
      const double below = value();
      flat[j].fill_(at);
      const double expected = (above - below) / (2.0 * kStep);
      const auto actual = gradient[j].item<double>();
      largest = std::max(largest, std::abs(actual));
      if (!(std::abs(actual - expected) <= kTolerance * std::max(1.0, std::abs(expected)))) {
        return ::testing::AssertionFailure()
               << "input " << i << " of shape " << inputs[i].sizes() << ", element " << j
               << ": autograd says " << actual << ", differences say " << expected;
      }
    }
  }
  if (largest == 0.0) return ::testing::AssertionFailure() << "every gradient is 0";
  return ::testing::AssertionSuccess();
}

}  // namespace evenkeel::test
