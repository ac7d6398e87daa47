// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/detail/check_options.hpp>
#include <evenkeel/nn/inside_norm.hpp>
#include <evenkeel/residual/gain.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>

#include <cstdint>
#include <string>

namespace evenkeel::nn {

/// Options for `MultiHeadAttention`, e.g. `MultiHeadAttentionOptions(512, 8).dropout(0.1)`.
struct MultiHeadAttentionOptions {
  MultiHeadAttentionOptions(int64_t embed_dim, int64_t num_heads)
      : embed_dim_(embed_dim), num_heads_(num_heads) {}

  /// Size of the last dimension of input and output.
  TORCH_ARG(int64_t, embed_dim);
  /// Query heads, each of size embed_dim / num_heads.
  TORCH_ARG(int64_t, num_heads);
  /// Key and value heads, each shared by num_heads / num_kv_heads query heads: 1 is multi-query,
  /// more is grouped-query attention. Default: 0, which means num_heads
  /// Paper: Ainslie et al. 2023, https://arxiv.org/abs/2305.13245.
  TORCH_ARG(int64_t, num_kv_heads) = 0;
  /// Query, key and value in one matrix, `in_proj_weight`, with the names and shapes of
  /// torch::nn::MultiheadAttention; otherwise `q_proj`, `k_proj` and `v_proj`. Default: true
  TORCH_ARG(bool, packed) = true;
  /// Whether all projections have a bias. Default: true
  TORCH_ARG(bool, bias) = true;
  /// A norm on the input of the output projection, as in Sub-LN. Default: none
  TORCH_ARG(InsideNorm, inside_norm);
  /// A norm of each head's query and key, over head_dim values, as in HybridNorm. Default: none
  TORCH_ARG(InsideNorm, query_key_norm);
  /// A norm of each head's value. Default: none
  TORCH_ARG(InsideNorm, value_norm);
  /// A factor on each head's output, one value per head if it has one per channel, as in
  /// NormFormer. Default: none
  TORCH_ARG(Gain, head_gain);
  /// Probability with which an attention weight is dropped during training. Default: 0
  TORCH_ARG(double, dropout) = 0.0;

 public:
  int64_t head_dim() const { return embed_dim() / num_heads(); }
  /// Number of key and value heads, with the default resolved.
  int64_t kv_heads() const { return num_kv_heads() == 0 ? num_heads() : num_kv_heads(); }
  /// Rows of the key matrix, and of the value matrix.
  int64_t kv_dim() const { return kv_heads() * head_dim(); }
};

namespace detail {

/// Throws unless all values are in range; the error names `module`.
inline void check(const MultiHeadAttentionOptions& options, const std::string& module) {
  TORCH_CHECK(options.num_heads() > 0 && options.embed_dim() > 0 &&
                  options.embed_dim() % options.num_heads() == 0,
              module,
              ": expected embed_dim to be a multiple of num_heads, but got ",
              options.embed_dim(),
              " and ",
              options.num_heads());
  TORCH_CHECK(options.kv_heads() > 0 && options.num_heads() % options.kv_heads() == 0,
              module,
              ": expected num_heads to be a multiple of num_kv_heads, but got ",
              options.num_heads(),
              " and ",
              options.num_kv_heads());
  check_probability(module.c_str(), "dropout", options.dropout());
}

}  // namespace detail

}  // namespace evenkeel::nn
