// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/detail/join.hpp>
#include <evenkeel/residual/norm_type.hpp>

#include <torch/types.h>

#include <cstdint>

namespace evenkeel::nn {

/// A norm inside a branch, on the input of its last matrix: its type, its eps (0 for the norm's
/// default), and a factor on its output. Default: no norm.
/// Paper: Wang et al. 2022 (Sub-LN), https://arxiv.org/abs/2210.06423.
struct InsideNorm {
  NormType type = NormKind::kNone;
  double eps = 0.0;
  double gain = 1.0;

  /// Makes the norm over `size` values; empty if there is none.
  AnyNorm make(int64_t size) const { return type.is_none() ? AnyNorm() : type.make(size, eps); }

  /// gain * norm(x), or x if there is no norm.
  torch::Tensor apply(const AnyNorm& norm, const torch::Tensor& x) const {
    return norm.is_empty() ? x : evenkeel::detail::normed(x, norm, gain);
  }
};

}  // namespace evenkeel::nn
