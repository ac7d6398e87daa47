// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/attention_mask.hpp>
#include <evenkeel/nn/detail/scaled_dot_product.hpp>

#include <ATen/ATen.h>
#include <torch/types.h>

#include <cstdint>

namespace evenkeel::nn::detail {

/// C v, where C = softmax(0 + mask) is attention whose scores are all 0: for each query the mean of
/// the values over the keys that it may attend to, 0 if there is none. It needs a matrix (T, S)
/// only where the mask has one, and one for all heads unless the mask differs between them.
/// Shapes: v is (B, num_kv_heads, S, head_dim), the result (B, num_heads, T or 1, head_dim).
inline torch::Tensor masked_mean(const torch::Tensor& v,
                                 const AttentionMask& mask,
                                 int64_t queries,
                                 int64_t num_heads) {
  const auto keys = v.size(2);
  if (const auto seen = mask.seen_keys(queries, keys)) {
    const auto& hidden = seen->hidden;
    const auto dtype = v.scalar_type();
    const bool half = dtype == at::kHalf || dtype == at::kBFloat16;
    const auto sums_in = v.options().dtype(half ? at::kFloat : dtype);
    auto values = v.to(sums_in.dtype());
    auto counts = at::ones({1, 1, keys, 1}, sums_in.requires_grad(false));
    if (hidden.defined()) {
      const auto without = hidden.transpose(2, 3);
      if (hidden.size(1) > 1) values = repeat_heads(values, num_heads);
      values = values.masked_fill(without, 0.0);
      counts = without.logical_not().to(sums_in.dtype());
    }
    const auto sum = [&](const torch::Tensor& x) {
      return seen->causal ? x.cumsum(2).narrow(2, keys - queries, queries)
                          : x.sum(2, /*keepdim=*/true);
    };
    return repeat_heads((sum(values) / sum(counts).clamp_min(1.0)).to(dtype), num_heads);
  }
  const auto additive = mask.additive({v.size(0), num_heads, queries, keys}, v.options());
  const auto weights = softmax_or_zero(additive, additive);
  if (weights.size(1) > 1) return weights.matmul(repeat_heads(v, num_heads));
  // The same for all heads, which become columns of one product.
  const auto joined = weights.squeeze(1).matmul(v.transpose(1, 2).flatten(2));
  const auto means = joined.view({v.size(0), joined.size(1), v.size(1), v.size(3)});
  return repeat_heads(means.transpose(1, 2), num_heads);
}

}  // namespace evenkeel::nn::detail
