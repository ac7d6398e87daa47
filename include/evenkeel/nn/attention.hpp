// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>
#include <evenkeel/nn/attention_mask.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/init.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <ostream>
#include <tuple>

namespace evenkeel::nn {

/// Options for `MultiHeadAttention`, e.g. `MultiHeadAttentionOptions(512, 8).dropout(0.1)`.
struct MultiHeadAttentionOptions {
  MultiHeadAttentionOptions(int64_t embed_dim, int64_t num_heads)
      : embed_dim_(embed_dim), num_heads_(num_heads) {}

  /// Size of the last dimension of input and output.
  TORCH_ARG(int64_t, embed_dim);
  /// Heads, each of embed_dim / num_heads.
  TORCH_ARG(int64_t, num_heads);
  /// Probability with which an attention weight is dropped while training. Default: 0
  TORCH_ARG(double, dropout) = 0.0;
};

/// Keys and values of the tokens seen so far, each (B, num_heads, S, embed_dim / num_heads).
struct KeyValueCache {
  torch::Tensor key;
  torch::Tensor value;

  /// Keeps the batch rows `index`, in that order.
  void select(const torch::Tensor& index) {
    if (!key.defined()) return;
    key = key.index_select(0, index);
    value = value.index_select(0, index);
  }
};

/// Multi-head attention on scaled_dot_product_attention:
///
///     softmax(Q K^T / sqrt(embed_dim / num_heads)) V, projected by out_proj
///
/// with Q, K, V from the packed `in_proj_weight` (3 * embed_dim, embed_dim). Registered names and
/// shapes are those of torch::nn::MultiheadAttention. Batch comes first.
/// Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
class MultiHeadAttentionImpl : public torch::nn::Cloneable<MultiHeadAttentionImpl> {
 public:
  explicit MultiHeadAttentionImpl(const MultiHeadAttentionOptions& options_) : options(options_) {
    TORCH_CHECK(options.num_heads() > 0 && options.embed_dim() > 0 &&
                    options.embed_dim() % options.num_heads() == 0,
                "MultiHeadAttention: expected embed_dim to be a multiple of num_heads, but got ",
                options.embed_dim(),
                " and ",
                options.num_heads());
    reset();
  }

  void reset() override {
    const auto d = options.embed_dim();
    in_proj_weight = register_parameter("in_proj_weight", torch::empty({3 * d, d}));
    in_proj_bias = register_parameter("in_proj_bias", torch::empty({3 * d}));
    out_proj = register_module("out_proj", torch::nn::Linear(d, d));
    reset_parameters();
  }

  /// Xavier's rule, biases 0.
  void reset_parameters() {
    torch::nn::init::xavier_uniform_(in_proj_weight);
    torch::nn::init::xavier_uniform_(out_proj->weight);
    torch::nn::init::zeros_(in_proj_bias);
    torch::nn::init::zeros_(out_proj->bias);
  }

  /// Attention of x (B, T, embed_dim) to itself.
  /// With a cache, x holds the tokens that follow those in it; they are added to it.
  torch::Tensor forward(const torch::Tensor& x,
                        const AttentionMask& mask = {},
                        KeyValueCache* cache = nullptr) {
    check("x", x);
    const auto qkv = heads(torch::linear(x, in_proj_weight, in_proj_bias), 3);
    auto k = qkv[1];
    auto v = qkv[2];
    if (cache != nullptr) {
      if (cache->key.defined()) {
        k = torch::cat({cache->key, k}, 2);
        v = torch::cat({cache->value, v}, 2);
      }
      cache->key = k;
      cache->value = v;
    }
    return attend(qkv[0], k, v, mask);
  }

  /// Attention of x (B, T, embed_dim) to `memory` (B, S, embed_dim). A cache, where given, is
  /// filled by the first call and read by every later one.
  torch::Tensor cross(const torch::Tensor& x,
                      const torch::Tensor& memory,
                      const AttentionMask& mask = {},
                      KeyValueCache* cache = nullptr) {
    check("x", x);
    const auto d = options.embed_dim();
    const auto weights = in_proj_weight.split_with_sizes({d, 2 * d});
    const auto biases = in_proj_bias.split_with_sizes({d, 2 * d});
    const auto q = heads(torch::linear(x, weights[0], biases[0]), 1)[0];
    if (cache != nullptr && cache->key.defined()) return attend(q, cache->key, cache->value, mask);
    check("memory", memory);
    const auto kv = heads(torch::linear(memory, weights[1], biases[1]), 2);
    if (cache != nullptr) *cache = {kv[0], kv[1]};
    return attend(q, kv[0], kv[1], mask);
  }

  /// Pretty prints the module, e.g. `evenkeel::nn::MultiHeadAttention(embed_dim=512, ...)`.
  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::nn::MultiHeadAttention(embed_dim=" << options.embed_dim()
           << ", num_heads=" << options.num_heads() << ", dropout=" << options.dropout() << ")";
  }

  MultiHeadAttentionOptions options;    ///< The options with which this module was constructed.
  torch::Tensor in_proj_weight;         ///< Query, key and value, (3 * embed_dim, embed_dim).
  torch::Tensor in_proj_bias;           ///< (3 * embed_dim)
  torch::nn::Linear out_proj{nullptr};  ///< The output projection.

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())},
                           {2, torch::nn::AnyValue(static_cast<KeyValueCache*>(nullptr))})

 private:
  // (B, T, parts * embed_dim) -> (parts, B, H, T, embed_dim / H), views
  std::vector<torch::Tensor> heads(const torch::Tensor& projected, int64_t parts) const {
    const auto h = options.num_heads();
    return projected.view({projected.size(0), projected.size(1), parts, h, options.embed_dim() / h})
        .permute({2, 0, 3, 1, 4})
        .unbind(0);
  }

  torch::Tensor attend(const torch::Tensor& q,
                       const torch::Tensor& k,
                       const torch::Tensor& v,
                       const AttentionMask& mask) {
    const auto visible =
        mask.visible().defined() ? std::optional<torch::Tensor>(mask.visible()) : std::nullopt;
    // Query t is the last of the keys' tokens when it stands alone, so it sees them all.
    const bool is_causal = mask.is_causal() && q.size(2) > 1;
    TORCH_CHECK(!is_causal || q.size(2) == k.size(2),
                "MultiHeadAttention: a causal mask expects as many queries as keys, or one, but "
                "got ",
                q.size(2),
                " and ",
                k.size(2));
    const auto y = at::scaled_dot_product_attention(q,
                                                    k,
                                                    v,
                                                    visible,
                                                    is_training() ? options.dropout() : 0.0,
                                                    is_causal);
    return out_proj(y.transpose(1, 2).reshape({q.size(0), q.size(2), options.embed_dim()}));
  }

  void check(const char* name, const torch::Tensor& x) const {
    TORCH_CHECK(x.dim() == 3 && x.size(2) == options.embed_dim(),
                "MultiHeadAttention: expected ",
                name,
                " of shape [batch, length, ",
                options.embed_dim(),
                "], but got ",
                x.sizes());
  }
};

/// A `ModuleHolder` for `MultiHeadAttentionImpl`: copies of it share one module.
TORCH_MODULE(MultiHeadAttention);

}  // namespace evenkeel::nn

template <>
struct evenkeel::AnatomyOf<evenkeel::nn::MultiHeadAttention> {
  static void describe(nn::MultiHeadAttentionImpl& attention, AnatomyBuilder& anatomy) {
    anatomy.sublayer("attention")
        .query_key_value(attention.in_proj_weight)
        .output(attention.out_proj);
    anatomy.bias(attention.in_proj_bias);
  }
};
