// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/position.hpp>
#include <evenkeel/kernels/fused_residual.hpp>
#include <evenkeel/kernels/residual_terms.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/observer.hpp>

#include <torch/nn/module.h>
#include <torch/types.h>

namespace evenkeel::detail {

/// shortcut * x + branch * dropout(f_x)
inline torch::Tensor join(const ResidualTerms& terms) {
  return join_residual(terms, {}, /*want_sum=*/false).sum;
}

/// gain * norm(x)
inline torch::Tensor normed(const torch::Tensor& x, const AnyNorm& norm, double gain) {
  const auto y = norm.forward(x);
  return gain == 1.0 ? y : y * gain;
}

/// gain times the norm of the sum, in one kernel if the norm can be fused; and the sum itself if
/// `want_sum`.
inline JoinedResidual join(const ResidualTerms& terms,
                           const AnyNorm& norm,
                           double gain,
                           bool want_sum) {
  if (const auto known = norm.fused()) {
    if (gain == 1.0) return join_residual(terms, *known, want_sum);
    if (known->weight.defined()) {  // gain * (s * w + b) = s * (gain * w) + gain * b
      auto scaled = *known;
      scaled.weight = known->weight * gain;
      if (known->bias.defined()) scaled.bias = known->bias * gain;
      return join_residual(terms, scaled, want_sum);
    }
  }
  const auto sum = join(terms);
  return {sum, normed(sum, norm, gain)};
}

/// A residual's output, with the norm of the sum if there is one; observers are called. `f_x` is
/// the branch's output before the branch norm.
inline torch::Tensor join_and_notify(const torch::nn::Module& residual,
                                     const Position& position,
                                     const ResidualTerms& terms,
                                     const torch::Tensor& f_x,
                                     const AnyNorm& sum_norm,
                                     double gain) {
  if (Observer::any()) {
    Observer::notify_branch({residual, position, terms.x, f_x, terms.dropout});
  }
  constexpr bool kWantSum = false;
  auto y = sum_norm.is_empty() ? join_residual(terms, {}, kWantSum).sum
                               : join(terms, sum_norm, gain, kWantSum).y;
  if (Observer::any()) Observer::notify(residual, position, terms.x, f_x, y);
  return y;
}

}  // namespace evenkeel::detail
