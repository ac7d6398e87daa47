// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/attention_mask.hpp>
#include <evenkeel/nn/detail/stack.hpp>
#include <evenkeel/nn/layer.hpp>
#include <evenkeel/nn/stack_options.hpp>
#include <evenkeel/residual/scheme_holder.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace evenkeel::nn {

/// The keys and values that a decoder stack keeps while it generates tokens.
struct DecoderCache {
  std::vector<LayerCache> layers;  ///< Keys and values, by layer and sub-layer.
  int64_t length = 0;              ///< Number of cached tokens.
  torch::Tensor padding;  ///< Whether they are padding, bool (B, length); undefined if none is.

  /// Keeps the batch rows `index`, in that order. Set `same_memory` if a row is only replaced by
  /// rows with the same memory, as for beams of one sentence; the keys and values of the memory are
  /// then not reordered.
  void select(const torch::Tensor& index, bool same_memory = false) {
    for (auto& layer : layers) {
      for (auto& entry : layer) {
        if (!(same_memory && entry.of_memory)) entry.select(index);
      }
    }
    if (padding.defined()) padding = padding.index_select(0, index);
  }
};

/// A stack of layers of causal self-attention, cross-attention to the encoder's output (unless the
/// options turn it off) and feed-forward, each in the scheme's residual. Without cross-attention it
/// is the stack of a decoder-only model. Shapes: x and y are (B, T, embed_dim), memory (B, S,
/// embed_dim).
class DecoderImpl : public detail::StackModule<DecoderImpl> {
 public:
  DecoderImpl(const Scheme& scheme, const StackOptions& options_)
      : StackModule("Decoder", scheme, options_, Stack::kDecoder) {}
  /// Constructs a stack from custom layers, which are re-initialised by the scheme.
  DecoderImpl(const Scheme& scheme, const StackOptions& options_, std::vector<Layer> layers_)
      : StackModule("Decoder", scheme, options_, Stack::kDecoder, std::move(layers_)) {}

  /// Causal by default. With a cache, x holds the tokens that follow the cached ones, and is added
  /// to the cache. If an error is thrown, the cache is unchanged.
  torch::Tensor forward(const torch::Tensor& x,
                        const torch::Tensor& memory = {},
                        const AttentionMask& memory_mask = {},
                        DecoderCache* cache = nullptr,
                        const AttentionMask& mask = AttentionMask::causal()) {
    const bool reads_memory = std::any_of(
        layers.front()->sublayers.begin(),
        layers.front()->sublayers.end(),
        [](const Sublayer& sublayer) { return sublayer.kind == SublayerKind::kCrossAttention; });
    TORCH_CHECK(!reads_memory || memory.defined() || (cache != nullptr && cache->length > 0),
                "Decoder: expected memory of shape [batch, length, ",
                options.embed_dim(),
                "], but got none; a decoder-only model says cross_attention(false)");
    const auto options_of_mask = detail::query_options(x);
    const auto length = x.size(1);
    BranchInputs inputs{{}, memory, memory_mask};
    inputs.mask =
        mask.prepare(length, length + (cache == nullptr ? 0 : cache->length), options_of_mask);
    if (memory.defined()) {
      inputs.memory_mask = memory_mask.prepare(length, memory.size(1), options_of_mask);
    }
    if (cache == nullptr) return run(x, inputs);

    auto next = cache->layers;  // handles: the cache is changed only if nothing throws
    next.resize(layers.size());
    for (size_t i = 0; i < layers.size(); ++i) layers[i]->resize(next[i]);
    auto y = run(x, inputs, &next);
    cache->layers = std::move(next);
    cache->length += x.size(1);
    return y;
  }
};

/// A holder of `DecoderImpl`; see `SchemeHolder`.
template <typename S = Scheme>
class Decoder : public SchemeHolder<DecoderImpl, StackOptions, S> {
 public:
  using SchemeHolder<DecoderImpl, StackOptions, S>::SchemeHolder;
};

}  // namespace evenkeel::nn

template <typename S>
struct evenkeel::AnatomyOf<evenkeel::nn::Decoder<S>> {
  static void describe(nn::DecoderImpl& decoder, AnatomyBuilder& anatomy) {
    anatomy.decoder(decoder.layers);
  }
};
