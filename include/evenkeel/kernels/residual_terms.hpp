// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>

#include <ATen/core/Tensor.h>

#include <utility>

namespace evenkeel {

/// A norm over the last dimension as numbers, without a module around them. The kinds that the
/// fused residual knows are LayerNorm and RMSNorm:
///
///     LayerNorm  y = (s - mean(s)) / sqrt(var(s) + eps) * weight + bias
///     RMSNorm    y = s / sqrt(mean(s^2) + eps) * weight
///
/// weight and bias have shape (embed_dim); where undefined, they are 1 and 0.
///
/// Mean and variance are those of the row in float32, however far it lies from 0: a row of equal
/// numbers gives the bias. What has to stay in float32's range is the sum of the squared distances
/// from the mean (RMSNorm: of the squares), so rows may hold numbers up to about 1e17. Beyond that
/// y is the bias alone, as with LibTorch's operators.
struct ResidualNorm {
  NormKind kind = NormKind::kNone;
  at::Tensor weight = {};
  at::Tensor bias = {};
  double eps = 1e-5;

  static ResidualNorm layer_norm(at::Tensor weight, at::Tensor bias, double eps = 1e-5) {
    return {NormKind::kLayerNorm, std::move(weight), std::move(bias), eps};
  }
  static ResidualNorm rms_norm(at::Tensor weight, double eps = 1e-6) {
    return {NormKind::kRmsNorm, std::move(weight), {}, eps};
  }
};

/// What a residual adds up: shortcut * x + branch * dropout(f_x + bias).
/// Shapes: x and f_x are (*, embed_dim); the gains are (1) or (embed_dim), the bias is (embed_dim);
/// where one is undefined, the gain is 1, or the bias 0.
struct ResidualTerms {
  at::Tensor x;              ///< What the shortcut carries.
  at::Tensor f_x;            ///< The branch's output.
  at::Tensor shortcut = {};  ///< Gain of x.
  at::Tensor branch = {};    ///< Gain of f_x.
  at::Tensor bias = {};      ///< Added to f_x, such as the last Linear's own.
  double dropout = 0.0;      ///< Probability with which an element of f_x + bias becomes 0.
  bool has_shortcut = true;  ///< Whether x is added at all.
};

}  // namespace evenkeel
