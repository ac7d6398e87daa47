// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/short_attention.hpp>
#include <evenkeel/nn/attention_mask.hpp>

#include <ATen/ATen.h>
#include <torch/types.h>
#include <torch/version.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>

namespace evenkeel::nn::detail {

/// Repeats each head of x (B, num_kv_heads, S, head_dim) for the query heads that share it: (B,
/// num_heads, S, head_dim). Copies x unless the numbers of heads are equal.
inline torch::Tensor repeat_heads(const torch::Tensor& x, int64_t num_heads) {
  if (x.size(1) == num_heads) return x;
  return x.unsqueeze(2)
      .expand({-1, -1, num_heads / x.size(1), -1, -1})
      .reshape({x.size(0), num_heads, x.size(2), x.size(3)});
}

/// scaled_dot_product_attention, but 0 for a query without any key. `additive` may be undefined.
/// Short sequences have kernels of their own.
inline torch::Tensor sdpa(const torch::Tensor& q,
                          const torch::Tensor& k,
                          const torch::Tensor& v,
                          const torch::Tensor& additive,
                          double dropout,
                          bool is_causal = false) {
  if (dropout == 0.0) {
    auto y = evenkeel::detail::short_attention({q, k, v, additive, is_causal});
    if (y.defined()) return y;
  }
  const auto mask =
      additive.defined() ? std::optional<torch::Tensor>(additive) : std::optional<torch::Tensor>();
#if TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR < 5
  // Before LibTorch 2.5, the softmax of a row of -inf is NaN.
  if (mask) {
    const auto blind =
        additive.eq(-std::numeric_limits<double>::infinity()).all(-1, /*keepdim=*/true);
    return at::scaled_dot_product_attention(q, k, v, additive.masked_fill(blind, 0.0), dropout)
        .masked_fill(blind, 0.0);
  }
#endif
  return at::scaled_dot_product_attention(q, k, v, mask, dropout, is_causal);
}

/// softmax(q k^T / sqrt(head_dim) + mask) v, with key heads shared by several query heads.
/// Shapes: q and y (B, num_heads, T, head_dim), k and v (B, num_kv_heads, S, head_dim).
inline torch::Tensor scaled_dot_product(const torch::Tensor& q,
                                        const torch::Tensor& k,
                                        const torch::Tensor& v,
                                        const AttentionMask& mask,
                                        double dropout) {
  const auto batch = q.size(0);
  const auto heads = q.size(1);
  const auto queries = q.size(2);
  const auto keys = k.size(2);
  if (mask.is_square_causal(queries, keys)) {
    return sdpa(q, repeat_heads(k, heads), repeat_heads(v, heads), {}, dropout, true);
  }
  const auto additive = mask.additive({batch, heads, queries, keys}, q.options());
  const auto groups = k.size(1);
  const bool same_for_all = !additive.defined() || (additive.size(1) == 1 && additive.size(2) == 1);
  if (groups < heads && same_for_all) {
    // The query heads of a group become additional queries of one head, so that no key is copied.
    const auto folded = q.reshape({batch, groups, heads / groups * queries, q.size(3)});
    return sdpa(folded, k, v, additive, dropout).reshape({batch, heads, queries, v.size(3)});
  }
  return sdpa(q, repeat_heads(k, heads), repeat_heads(v, heads), additive, dropout);
}

/// softmax(q k^T / sqrt(head_dim) + mask), (B, num_heads, T, S), computed by separate operators.
inline torch::Tensor attention_weights(const torch::Tensor& q,
                                       const torch::Tensor& k,
                                       const AttentionMask& mask) {
  const auto scores = q.matmul(repeat_heads(k, q.size(1)).transpose(-1, -2));
  return masked_softmax(scores / std::sqrt(static_cast<double>(q.size(3))), mask);
}

}  // namespace evenkeel::nn::detail
