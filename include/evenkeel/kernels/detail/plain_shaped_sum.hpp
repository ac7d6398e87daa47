// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>

#include <array>

namespace evenkeel::detail {

/// Shaped attention beside its softmax: y = beta * a + alpha * v - gamma * mean(v), where a is the
/// softmax's average of the values v. Shapes: v, a and y are (B, num_heads, T, head_dim), gains
/// (num_heads) or (1), undefined for 1.
struct ShapedSum {
  at::Tensor v;
  at::Tensor alpha;
  at::Tensor beta;
  at::Tensor gamma;
  bool identity = true;  ///< Whether there is alpha * v.
  bool centred = true;   ///< Whether there is -gamma * mean(v).
  bool causal = true;    ///< Whether the mean is over the positions up to each, or over all.

  /// In the order in which gradients are listed.
  std::array<at::Tensor*, 4> inputs() { return {&v, &alpha, &beta, &gamma}; }
};

/// x (B, num_heads, ...) with the gain of each head.
inline at::Tensor times_heads(const at::Tensor& x, const at::Tensor& gain) {
  return gain.defined() ? x * gain.to(x.scalar_type()).view({1, -1, 1, 1}) : x;
}

/// y + sign * gain * x, for the gain of each head, in one pass over the three.
inline at::Tensor plus_heads(const at::Tensor& y,
                             const at::Tensor& x,
                             const at::Tensor& gain,
                             double sign = 1.0) {
  if (!gain.defined()) return at::add(y, x, sign);
  return at::addcmul(y, x, gain.to(x.scalar_type()).view({1, -1, 1, 1}), sign);
}

/// y + alpha * v - gamma * mean(v), by operators.
inline at::Tensor plus_rest(at::Tensor y, const ShapedSum& sum) {
  if (sum.centred) {
    const auto type = sum.v.scalar_type();
    const auto values = type == at::kDouble ? sum.v : sum.v.to(at::kFloat);
    const auto counts = at::arange(1, sum.v.size(2) + 1, values.options()).view({1, 1, -1, 1});
    const auto mean = sum.causal ? values.cumsum(2) / counts : values.mean(2, /*keepdim=*/true);
    y = plus_heads(y, mean.to(type), sum.gamma, -1.0);
  }
  return sum.identity ? plus_heads(y, sum.v, sum.alpha) : y;
}

}  // namespace evenkeel::detail
