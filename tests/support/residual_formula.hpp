// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/residual_terms.hpp>

#include "all_close.hpp"

#include <gtest/gtest.h>
#include <torch/nn/functional/normalization.h>
#include <torch/types.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace evenkeel::test {

/// Sum and, where there is a norm, its norm, an operator at a time in the types of the tensors.
/// `factors`, where defined, stand for the dropout.
inline std::vector<torch::Tensor> residual_by_operators(const ResidualTerms& terms,
                                                        const ResidualNorm& norm,
                                                        const torch::Tensor& factors) {
  auto f_x = terms.f_x;
  if (terms.bias.defined()) f_x = f_x + terms.bias;
  if (factors.defined()) f_x = f_x * factors.to(f_x.scalar_type());
  if (terms.branch.defined()) f_x = f_x * terms.branch;
  const auto sum = (terms.shortcut.defined() ? terms.x * terms.shortcut : terms.x) + f_x;
  if (norm.kind == NormKind::kNone) return {sum};
  if (norm.kind == NormKind::kLayerNorm) {
    return {sum, torch::layer_norm(sum, {sum.size(-1)}, norm.weight, norm.bias, norm.eps)};
  }
  auto y = sum * (sum.square().mean(-1, true) + norm.eps).rsqrt();
  if (norm.weight.defined()) y = y * norm.weight;
  return {sum, y};
}

/// |x - exact| / |exact|, over all elements.
inline double relative_error(const torch::Tensor& x, const torch::Tensor& exact) {
  const auto wide = x.detach().to(torch::kFloat64);
  const auto size = exact.norm().item<double>();
  return (wide - exact).norm().item<double>() / (size > 0.0 ? size : 1.0);
}

/// The error against float64 is at most twice that of the plain implementation, or two roundings.
inline ::testing::AssertionResult as_exact_as(const torch::Tensor& actual,
                                              const torch::Tensor& plain,
                                              const torch::Tensor& exact) {
  if (!actual.defined() || !plain.defined()) {
    return ::testing::AssertionFailure() << "a tensor is undefined";
  }
  if (actual.scalar_type() != plain.scalar_type() || actual.sizes() != plain.sizes()) {
    return ::testing::AssertionFailure()
           << actual.scalar_type() << " " << actual.sizes()
           << " where the plain implementation has " << plain.scalar_type() << " " << plain.sizes();
  }
  // A lone number is a sum over everything, whose parts may cancel: nothing to divide the error by.
  if (actual.numel() == 1) return all_close(actual, exact.to(actual.scalar_type()));
  const double rounding = actual.scalar_type() == torch::kFloat32    ? 0x1p-24
                          : actual.scalar_type() == torch::kBFloat16 ? 0x1p-9
                                                                     : 0x1p-12;
  const double ours = relative_error(actual, exact);
  const double theirs = relative_error(plain, exact);
  if (ours <= 2.0 * std::max(theirs, rounding)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "relative error " << ours << ", that of the plain implementation " << theirs;
}

}  // namespace evenkeel::test
