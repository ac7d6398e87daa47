// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>
#include <evenkeel/core/draw.hpp>
#include <evenkeel/kernels/detail/biased_linear.hpp>
#include <evenkeel/nn/attention_mask.hpp>
#include <evenkeel/nn/attention_options.hpp>
#include <evenkeel/nn/detail/attention_checks.hpp>
#include <evenkeel/nn/detail/scaled_dot_product.hpp>
#include <evenkeel/nn/key_value_cache.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/observer.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/init.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <ostream>
#include <string>
#include <utility>

namespace evenkeel::nn {

/// The interface of attention modules that layers call.
class Attention {
 public:
  virtual ~Attention() = default;
  /// Self-attention of x (B, T, embed_dim).
  virtual torch::Tensor forward(const torch::Tensor& x,
                                const AttentionMask& mask,
                                KeyValueCache* cache) = 0;
  /// Attention of x (B, T, embed_dim) to `memory` (B, S, embed_dim).
  virtual torch::Tensor cross_attention(const torch::Tensor& x,
                                        const torch::Tensor& memory,
                                        const AttentionMask& mask,
                                        KeyValueCache* cache) = 0;
};

/// Queries (B, num_heads, T, head_dim), keys and values (B, num_kv_heads, S, head_dim).
struct QueryKeyValue {
  torch::Tensor query;
  torch::Tensor key;
  torch::Tensor value;
};

/// Multi-head attention in three steps, each of which a derived class can override:
///
///     using evenkeel::nn::AttentionMask;
///     struct SoftCappedImpl : evenkeel::nn::AttentionImplBase<SoftCappedImpl> {
///       explicit SoftCappedImpl(const Options& options) : AttentionImplBase(options) { reset(); }
///       Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v,
///                     const AttentionMask& mask) override {
///         const auto scores = q.matmul(repeat_heads(k).transpose(-1, -2)) / std::sqrt(q.size(3));
///         return masked_softmax(30 * (scores / 30).tanh(), mask).matmul(repeat_heads(v));
///       }
///     };
///
/// The derived class inherits everything else: caches, masks, the interface `Attention`, and
/// clone() as `Derived`. A derived class with additional parameters registers them in its
/// `reset()`, which also calls the base class's; one with other projections registers those alone.
template <typename Derived>
class AttentionImplBase : public torch::nn::Cloneable<Derived>, public Attention {
 public:
  /// Does not register anything: `Derived` calls `reset()`.
  explicit AttentionImplBase(MultiHeadAttentionOptions options_) : options(std::move(options_)) {
    detail::check(options, class_name());
  }

  void reset() override;

  /// Re-initialises every projection as fairseq does: Xavier uniform, with gain 1/sqrt(2) for
  /// query, key and value, biases 0. Packed and separate projections have the same distribution.
  virtual void reset_parameters();

  /// Self-attention of x (B, T, embed_dim); y is (B, T, embed_dim). With a cache, x holds the
  /// tokens that follow the cached ones, and is added to the cache. If an error is thrown, the
  /// cache is unchanged.
  torch::Tensor forward(const torch::Tensor& x,
                        const AttentionMask& mask = {},
                        KeyValueCache* cache = nullptr) override;

  /// Attention of x (B, T, embed_dim) to `memory` (B, S, embed_dim); y is (B, T, embed_dim). The
  /// first call with a cache stores the keys and values of `memory` in it, and later calls use
  /// those; their `memory` may be undefined.
  torch::Tensor cross_attention(const torch::Tensor& x,
                                const torch::Tensor& memory,
                                const AttentionMask& mask = {},
                                KeyValueCache* cache = nullptr) override;

  /// First step: the query of x, key and value of `memory`, which is x in self-attention. If
  /// `memory` is undefined, key and value are in a cache, and are returned undefined.
  virtual QueryKeyValue project(const torch::Tensor& x, const torch::Tensor& memory);

  /// Second step: softmax(q k^T / sqrt(head_dim) + mask) v, (B, num_heads, T, head_dim). It also
  /// passes the attention weights to observers that receive them.
  virtual torch::Tensor attend(const torch::Tensor& q,
                               const torch::Tensor& k,
                               const torch::Tensor& v,
                               const AttentionMask& mask) {
    if (Observer::any_attention()) {
      Observer::notify_attention(*this, detail::attention_weights(q, k, mask));
    }
    return detail::scaled_dot_product(q, k, v, mask, this->is_training() ? options.dropout() : 0.0);
  }

  /// Third step: concatenates the heads of y (B, num_heads, T, head_dim), applies the inside norm
  /// if there is one, and projects by `out_proj`.
  virtual torch::Tensor output(const torch::Tensor& y) {
    const auto joined = y.transpose(1, 2).reshape({y.size(0), y.size(2), options.embed_dim()});
    return evenkeel::detail::biased_linear(options.inside_norm().apply(inside_norm, joined),
                                           out_proj->weight,
                                           out_proj->bias);
  }

  /// Pretty prints the module, e.g. `evenkeel::nn::MultiHeadAttention(embed_dim=512, ...)`.
  void pretty_print(std::ostream& stream) const override;

  MultiHeadAttentionOptions options;    ///< The options with which this module was constructed.
  torch::Tensor in_proj_weight;         ///< Query, key, value: (embed_dim + 2 * kv_dim, embed_dim).
  torch::Tensor in_proj_bias;           ///< (embed_dim + 2 * kv_dim)
  torch::nn::Linear q_proj{nullptr};    ///< If not packed: embed_dim to embed_dim.
  torch::nn::Linear k_proj{nullptr};    ///< embed_dim to kv_dim
  torch::nn::Linear v_proj{nullptr};    ///< embed_dim to kv_dim
  AnyNorm q_norm;                       ///< On each head's query; each empty if there is none.
  AnyNorm k_norm;                       ///< On each head's key.
  AnyNorm v_norm;                       ///< On each head's value.
  torch::Tensor head_gain;              ///< (num_heads) or (1); undefined if there is none.
  AnyNorm inside_norm;                  ///< On the input of out_proj; empty if there is none.
  torch::nn::Linear out_proj{nullptr};  ///< The output projection.

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())},
                           {2, torch::nn::AnyValue(static_cast<KeyValueCache*>(nullptr))})

  /// Registers the norms of query, key, value and inside, and the heads' gain.
  void register_norms();

  /// Views x (B, T, heads * head_dim) as heads (B, heads, T, head_dim).
  torch::Tensor split_heads(const torch::Tensor& x) const {
    const auto size = options.head_dim();
    return x.view({x.size(0), x.size(1), x.size(2) / size, size}).transpose(1, 2);
  }

  /// Keys or values (B, num_kv_heads, S, head_dim), each head repeated for the query heads that
  /// share it: (B, num_heads, S, head_dim).
  torch::Tensor repeat_heads(const torch::Tensor& x) const {
    return detail::repeat_heads(x, options.num_heads());
  }

 private:
  // project(), with the norms of the heads.
  QueryKeyValue normed_heads(const torch::Tensor& x, const torch::Tensor& memory);
  // attend() and output(), with the heads' gains between them.
  torch::Tensor finish(const torch::Tensor& q,
                       const torch::Tensor& k,
                       const torch::Tensor& v,
                       const AttentionMask& mask);
  void check_input(const char* name, const torch::Tensor& x) const {
    detail::check_input(class_name(), name, x, options.embed_dim());
  }
  // The name of `Derived` for errors, e.g. `MultiHeadAttention`.
  static const std::string& class_name() {
    static const std::string name = detail::short_name(detail::holder_name<Derived>());
    return name;
  }
};

/// Multi-head attention on scaled_dot_product_attention:
///
///     softmax(Q K^T / sqrt(embed_dim / num_heads)) V, projected by out_proj
///
/// with Q, K, V from the packed `in_proj_weight` or from three matrices. With the default options,
/// registered names and shapes are those of torch::nn::MultiheadAttention. Inputs are batch first.
/// Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
class MultiHeadAttentionImpl : public AttentionImplBase<MultiHeadAttentionImpl> {
 public:
  explicit MultiHeadAttentionImpl(const MultiHeadAttentionOptions& options_)
      : AttentionImplBase(options_) {
    reset();
  }
};

/// A `ModuleHolder` for `MultiHeadAttentionImpl`: copies of it share one module.
TORCH_MODULE(MultiHeadAttention);

namespace detail {

/// Describes the roles of an attention's parameters, for any `AttentionImplBase` without additional
/// parameters.
template <typename Derived>
void describe_attention(AttentionImplBase<Derived>& attention, SublayerBuilder& sublayer);

}  // namespace detail

}  // namespace evenkeel::nn

#include <evenkeel/nn/detail/attention_impl.hpp>

template <>
struct evenkeel::AnatomyOf<evenkeel::nn::MultiHeadAttention> {
  static void describe(nn::MultiHeadAttentionImpl& attention, AnatomyBuilder& anatomy) {
    auto sublayer = anatomy.sublayer("attention");
    describe(attention, sublayer);
  }
  static void describe(nn::MultiHeadAttentionImpl& attention, SublayerBuilder& sublayer) {
    nn::detail::describe_attention(attention, sublayer);
  }
};
