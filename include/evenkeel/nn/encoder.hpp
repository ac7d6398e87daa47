// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/init/apply_init.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/detail/stack.hpp>
#include <evenkeel/nn/feed_forward.hpp>
#include <evenkeel/nn/stack_options.hpp>
#include <evenkeel/residual/residual.hpp>
#include <evenkeel/residual/residual_stream.hpp>

#include <torch/nn/cloneable.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace evenkeel::nn {

/// One encoder layer: self-attention and feed-forward, each in the scheme's residual.
/// Shapes: x and y are (B, T, embed_dim).
template <typename Scheme>
class EncoderLayerImpl : public torch::nn::Cloneable<EncoderLayerImpl<Scheme>> {
 public:
  /// Layer `layer`, from 0, of the stack that `options_` speak of.
  EncoderLayerImpl(const StackOptions& options_, int64_t layer) : options(options_), layer_(layer) {
    reset();
  }

  void reset() override {
    const detail::LayerParts<Scheme> parts(options, Stack::kEncoder, /*sublayers=*/2, layer_);
    self_attn = this->register_module("self_attn", parts.attention());
    self_attn_residual = this->register_module("self_attn_residual", parts.residual(0));
    feed_forward = this->register_module("feed_forward", parts.feed_forward());
    feed_forward_residual = this->register_module("feed_forward_residual", parts.residual(1));
  }

  torch::Tensor forward(const torch::Tensor& x, const AttentionMask& mask = {}) {
    return advance(x, mask).sum();
  }

  /// The stream behind this layer, for one among others.
  ResidualStream advance(ResidualStream stream, const AttentionMask& mask = {}) {
    stream = self_attn_residual->around(std::move(stream), [&](const torch::Tensor& h) {
      return self_attn->forward(h, mask);
    });
    return feed_forward_residual->around(std::move(stream), [&](const torch::Tensor& h) {
      return feed_forward->forward(h);
    });
  }

  StackOptions options;                             ///< The options of the whole stack.
  MultiHeadAttention self_attn{nullptr};            ///< Self-attention.
  Residual<Scheme> self_attn_residual{nullptr};     ///< Its residual.
  FeedForward feed_forward{nullptr};                ///< Feed-forward.
  Residual<Scheme> feed_forward_residual{nullptr};  ///< Its residual.

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())})

 private:
  int64_t layer_;
};

/// A `ModuleHolder` for `EncoderLayerImpl`: copies of it share one module.
template <typename Scheme>
class EncoderLayer : public torch::nn::ModuleHolder<EncoderLayerImpl<Scheme>> {
 public:
  using torch::nn::ModuleHolder<EncoderLayerImpl<Scheme>>::ModuleHolder;
  using Impl = EncoderLayerImpl<Scheme>;
};

}  // namespace evenkeel::nn

template <typename Scheme>
struct evenkeel::AnatomyOf<evenkeel::nn::EncoderLayer<Scheme>> {
  static void describe(nn::EncoderLayerImpl<Scheme>& layer, AnatomyBuilder& anatomy) {
    AnatomyOf<nn::MultiHeadAttention>::describe(*layer.self_attn, anatomy);
    AnatomyOf<nn::FeedForward>::describe(*layer.feed_forward, anatomy);
  }
};

namespace evenkeel::nn {

/// A stack of encoder layers, with one more norm at its end where the scheme normalises before the
/// branch. An encoder-only model is this behind an embedding; a decoder-only one, `Decoder`.
/// Shapes: x and y are (B, T, embed_dim).
template <typename Scheme>
class EncoderImpl : public torch::nn::Cloneable<EncoderImpl<Scheme>> {
 public:
  explicit EncoderImpl(const StackOptions& options_) : options(options_) { reset(); }

  void reset() override {
    detail::check_stack("Encoder", options);
    layers.clear();
    for (int64_t i = 0; i < options.num_layers(); ++i) {
      layers.push_back(
          this->register_module("layer_" + std::to_string(i), EncoderLayer<Scheme>(options, i)));
    }
    norm = detail::register_final_norm<Scheme>(*this, options.embed_dim());
    reset_parameters();
  }

  /// Draws every layer's weights afresh, scaled as the scheme wants them.
  InitReport reset_parameters() {
    return detail::init_stack<Scheme, EncoderLayer<Scheme>>(*this, Stack::kEncoder, options);
  }

  torch::Tensor forward(const torch::Tensor& x, const AttentionMask& mask = {}) {
    ResidualStream stream = x;
    for (auto& layer : layers) stream = layer->advance(std::move(stream), mask);
    return norm.is_empty() ? stream.sum() : stream.normed(norm);
  }

  StackOptions options;                      ///< The options with which this was constructed.
  std::vector<EncoderLayer<Scheme>> layers;  ///< The layers, first to last.
  torch::nn::LayerNorm norm{nullptr};        ///< The norm at the end; empty where there is none.

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())})
};

/// A `ModuleHolder` for `EncoderImpl`: copies of it share one module.
template <typename Scheme>
class Encoder : public torch::nn::ModuleHolder<EncoderImpl<Scheme>> {
 public:
  using torch::nn::ModuleHolder<EncoderImpl<Scheme>>::ModuleHolder;
  using Impl = EncoderImpl<Scheme>;
};

}  // namespace evenkeel::nn

template <typename Scheme>
struct evenkeel::AnatomyOf<evenkeel::nn::Encoder<Scheme>> {
  static void describe(nn::EncoderImpl<Scheme>& encoder, AnatomyBuilder& anatomy) {
    anatomy.encoder(encoder.layers);
  }
};
