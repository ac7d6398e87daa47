// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/init/apply_init.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/detail/stack.hpp>
#include <evenkeel/nn/feed_forward.hpp>
#include <evenkeel/nn/stack_options.hpp>
#include <evenkeel/residual/residual.hpp>
#include <evenkeel/residual/residual_stream.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::nn {

/// What one decoder layer remembers between the tokens it generates.
struct DecoderLayerCache {
  KeyValueCache self_attn;
  KeyValueCache cross_attn;
};

/// What a decoder stack remembers between the tokens it generates.
struct DecoderCache {
  std::vector<DecoderLayerCache> layers;
  int64_t length = 0;  ///< Tokens seen.

  /// Keeps the batch rows `index`, in that order. `same_memory` says that the rows which take each
  /// other's place read the same memory, as the beams of one sentence do; the keys and values of
  /// the memory then stay as they are.
  void select(const torch::Tensor& index, bool same_memory = false) {
    for (auto& layer : layers) {
      layer.self_attn.select(index);
      if (!same_memory) layer.cross_attn.select(index);
    }
  }
};

/// One decoder layer: causal self-attention, attention to the encoder's output (unless the options
/// leave it out) and feed-forward, each in the scheme's residual.
/// Shapes: x and y are (B, T, embed_dim), memory (B, S, embed_dim).
template <typename Scheme>
class DecoderLayerImpl : public torch::nn::Cloneable<DecoderLayerImpl<Scheme>> {
 public:
  /// Layer `layer`, from 0, of the stack that `options_` speak of.
  DecoderLayerImpl(const StackOptions& options_, int64_t layer) : options(options_), layer_(layer) {
    reset();
  }

  void reset() override {
    const bool cross = options.cross_attention();
    const detail::LayerParts<Scheme> parts(options, Stack::kDecoder, cross ? 3 : 2, layer_);
    self_attn = this->register_module("self_attn", parts.attention());
    self_attn_residual = this->register_module("self_attn_residual", parts.residual(0));
    if (cross) {
      cross_attn = this->register_module("cross_attn", parts.attention());
      cross_attn_residual = this->register_module("cross_attn_residual", parts.residual(1));
    }
    feed_forward = this->register_module("feed_forward", parts.feed_forward());
    feed_forward_residual =
        this->register_module("feed_forward_residual", parts.residual(cross ? 2 : 1));
  }

  /// `mask` is the self-attention's. With a cache, x holds the tokens that follow those in it.
  torch::Tensor forward(const torch::Tensor& x,
                        const torch::Tensor& memory = {},
                        const AttentionMask& mask = AttentionMask::causal(),
                        const AttentionMask& memory_mask = {},
                        DecoderLayerCache* cache = nullptr) {
    return advance(x, memory, mask, memory_mask, cache).sum();
  }

  /// The stream behind this layer, for one among others.
  ResidualStream advance(ResidualStream stream,
                         const torch::Tensor& memory = {},
                         const AttentionMask& mask = AttentionMask::causal(),
                         const AttentionMask& memory_mask = {},
                         DecoderLayerCache* cache = nullptr) {
    auto* self_cache = cache == nullptr ? nullptr : &cache->self_attn;
    auto* cross_cache = cache == nullptr ? nullptr : &cache->cross_attn;
    stream = self_attn_residual->around(std::move(stream), [&](const torch::Tensor& h) {
      return self_attn->forward(h, mask, self_cache);
    });
    if (options.cross_attention()) {
      stream = cross_attn_residual->around(std::move(stream), [&](const torch::Tensor& h) {
        return cross_attn->cross_attention(h, memory, memory_mask, cross_cache);
      });
    }
    return feed_forward_residual->around(std::move(stream), [&](const torch::Tensor& h) {
      return feed_forward->forward(h);
    });
  }

  StackOptions options;                             ///< The options of the whole stack.
  MultiHeadAttention self_attn{nullptr};            ///< Self-attention.
  Residual<Scheme> self_attn_residual{nullptr};     ///< Its residual.
  MultiHeadAttention cross_attn{nullptr};           ///< Attention to the memory, or empty.
  Residual<Scheme> cross_attn_residual{nullptr};    ///< Its residual, or empty.
  FeedForward feed_forward{nullptr};                ///< Feed-forward.
  Residual<Scheme> feed_forward_residual{nullptr};  ///< Its residual.

 private:
  int64_t layer_;
};

/// A `ModuleHolder` for `DecoderLayerImpl`: copies of it share one module.
template <typename Scheme>
class DecoderLayer : public torch::nn::ModuleHolder<DecoderLayerImpl<Scheme>> {
 public:
  using torch::nn::ModuleHolder<DecoderLayerImpl<Scheme>>::ModuleHolder;
  using Impl = DecoderLayerImpl<Scheme>;
};

}  // namespace evenkeel::nn

template <typename Scheme>
struct evenkeel::AnatomyOf<evenkeel::nn::DecoderLayer<Scheme>> {
  static void describe(nn::DecoderLayerImpl<Scheme>& layer, AnatomyBuilder& anatomy) {
    AnatomyOf<nn::MultiHeadAttention>::describe(*layer.self_attn, anatomy);
    if (!layer.cross_attn.is_empty()) {
      AnatomyOf<nn::MultiHeadAttention>::describe(*layer.cross_attn, anatomy);
    }
    AnatomyOf<nn::FeedForward>::describe(*layer.feed_forward, anatomy);
  }
};

namespace evenkeel::nn {

/// A stack of decoder layers, with one more norm at its end where the scheme normalises before the
/// branch. Without cross-attention it is the stack of a decoder-only model.
/// Shapes: x and y are (B, T, embed_dim), memory (B, S, embed_dim).
template <typename Scheme>
class DecoderImpl : public torch::nn::Cloneable<DecoderImpl<Scheme>> {
 public:
  explicit DecoderImpl(const StackOptions& options_) : options(options_) { reset(); }

  void reset() override {
    detail::check_stack("Decoder", options);
    layers.clear();
    for (int64_t i = 0; i < options.num_layers(); ++i) {
      layers.push_back(
          this->register_module("layer_" + std::to_string(i), DecoderLayer<Scheme>(options, i)));
    }
    norm = detail::register_final_norm<Scheme>(*this, options.embed_dim());
    reset_parameters();
  }

  /// Draws every layer's weights afresh, scaled as the scheme wants them.
  InitReport reset_parameters() {
    return detail::init_stack<Scheme, DecoderLayer<Scheme>>(*this, Stack::kDecoder, options);
  }

  /// Causal unless `mask` says otherwise. With a cache, x holds the tokens that follow those in it;
  /// they are added to it.
  torch::Tensor forward(const torch::Tensor& x,
                        const torch::Tensor& memory = {},
                        const AttentionMask& memory_mask = {},
                        DecoderCache* cache = nullptr,
                        const AttentionMask& mask = AttentionMask::causal()) {
    TORCH_CHECK(
        !options.cross_attention() || memory.defined() || (cache != nullptr && cache->length > 0),
        "Decoder: expected memory of shape [batch, length, ",
        options.embed_dim(),
        "], but got none; a decoder-only model says cross_attention(false)");
    if (cache != nullptr) cache->layers.resize(layers.size());
    ResidualStream stream = x;
    for (size_t i = 0; i < layers.size(); ++i) {
      stream = layers[i]->advance(std::move(stream),
                                  memory,
                                  mask,
                                  memory_mask,
                                  cache == nullptr ? nullptr : &cache->layers[i]);
    }
    if (cache != nullptr) cache->length += x.size(1);
    return norm.is_empty() ? stream.sum() : stream.normed(norm);
  }

  StackOptions options;                      ///< The options with which this was constructed.
  std::vector<DecoderLayer<Scheme>> layers;  ///< The layers, first to last.
  torch::nn::LayerNorm norm{nullptr};        ///< The norm at the end; empty where there is none.
};

/// A `ModuleHolder` for `DecoderImpl`: copies of it share one module.
template <typename Scheme>
class Decoder : public torch::nn::ModuleHolder<DecoderImpl<Scheme>> {
 public:
  using torch::nn::ModuleHolder<DecoderImpl<Scheme>>::ModuleHolder;
  using Impl = DecoderImpl<Scheme>;
};

}  // namespace evenkeel::nn

template <typename Scheme>
struct evenkeel::AnatomyOf<evenkeel::nn::Decoder<Scheme>> {
  static void describe(nn::DecoderImpl<Scheme>& decoder, AnatomyBuilder& anatomy) {
    anatomy.decoder(decoder.layers);
  }
};
