// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/shaped_sum.hpp>
#include <evenkeel/nn/attention_mask.hpp>
#include <evenkeel/nn/detail/masked_mean.hpp>
#include <evenkeel/nn/detail/scaled_dot_product.hpp>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cmath>

namespace evenkeel::nn::detail {

/// The terms of A = alpha * I + beta * softmax - gamma * C. Gains are (num_heads) or (1), undefined
/// for 1.
struct ShapedTerms {
  bool identity = true;  ///< Whether there is alpha * I.
  bool centred = true;   ///< Whether there is -gamma * C.
  torch::Tensor alpha;
  torch::Tensor beta;
  torch::Tensor gamma;
  double soft_cap = 0.0;  ///< Of the scores; 0 for none.
};

using evenkeel::detail::plus_heads;
using evenkeel::detail::times_heads;

/// softmax of q k^T / sqrt(head_dim), which a cap c makes c * tanh(scores / c): (B, num_heads, T,
/// S).
inline torch::Tensor shaped_softmax(const ShapedTerms& terms,
                                    const torch::Tensor& q,
                                    const torch::Tensor& k,
                                    const AttentionMask& mask) {
  if (terms.soft_cap == 0.0) return attention_weights(q, k, mask);
  const auto scale = std::sqrt(static_cast<double>(q.size(3))) * terms.soft_cap;
  const auto scores = q.matmul(repeat_heads(k, q.size(1)).transpose(-1, -2)) / scale;
  return masked_softmax(scores.tanh() * terms.soft_cap, mask);
}

/// A as a matrix, (B, num_heads, T, S).
inline torch::Tensor shaped_matrix(const ShapedTerms& terms,
                                   const torch::Tensor& q,
                                   const torch::Tensor& k,
                                   const AttentionMask& mask) {
  const auto softmax = shaped_softmax(terms, q, k, mask);
  auto sum = times_heads(softmax, terms.beta);
  if (terms.centred) {
    sum = sum - times_heads(masked_softmax(torch::zeros_like(softmax), mask), terms.gamma);
  }
  if (!terms.identity) return sum;
  const auto keys = k.size(2);
  const auto diagonal = torch::eye(keys, sum.options().requires_grad(false));
  const auto of_queries = diagonal.narrow(0, keys - q.size(2), q.size(2)).expand_as(sum);
  return sum + times_heads(of_queries, terms.alpha);
}

/// A v, without A: alpha * v + beta * attention - gamma * mean(v). `dropout` is that of the
/// softmax. Shapes: q and y are (B, num_heads, T, head_dim), k and v (B, num_kv_heads, S,
/// head_dim); with I, the queries are those of the last T keys.
inline torch::Tensor shaped_attention(const ShapedTerms& terms,
                                      const torch::Tensor& q,
                                      const torch::Tensor& k,
                                      const torch::Tensor& v,
                                      const AttentionMask& mask,
                                      double dropout) {
  const auto heads = q.size(1);
  const auto queries = q.size(2);
  const auto attend = [&](const torch::Tensor& values) {
    if (terms.soft_cap == 0.0) return scaled_dot_product(q, k, values, mask, dropout);
    auto softmax = shaped_softmax(terms, q, k, mask);
    if (dropout > 0.0) softmax = torch::dropout(softmax, dropout, /*train=*/true);
    return softmax.matmul(repeat_heads(values, heads));
  };
  if (queries == v.size(2) && heads == v.size(1)) {
    const auto seen = mask.seen_keys(queries, queries);
    if (!terms.centred || (seen && !seen->hidden.defined())) {
      const auto type = q.is_cuda() && at::autocast::is_autocast_enabled(at::kCUDA) &&
                                q.scalar_type() != at::kDouble
                            ? at::autocast::get_autocast_dtype(at::kCUDA)
                            : q.scalar_type();
      return evenkeel::detail::shaped_sum({v,
                                           terms.alpha,
                                           terms.beta,
                                           terms.gamma,
                                           terms.identity,
                                           terms.centred,
                                           seen && seen->causal},
                                          type,
                                          attend);
    }
  }
  auto y = attend(v);
  y = times_heads(y, terms.beta);
  if (terms.centred) y = plus_heads(y, masked_mean(v, mask, queries, heads), terms.gamma, -1.0);
  if (!terms.identity) return y;
  TORCH_CHECK(queries <= v.size(2),
              "ShapedAttention: expected a key for every query, but got ",
              queries,
              " queries and ",
              v.size(2),
              " keys");
  const auto own_values = v.narrow(2, v.size(2) - queries, queries);
  return plus_heads(y, repeat_heads(own_values, heads), terms.alpha);
}

}  // namespace evenkeel::nn::detail
