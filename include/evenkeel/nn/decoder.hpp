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

/// What a decoder stack remembers between the tokens it generates.
struct DecoderCache {
  std::vector<LayerCache> layers;  ///< Keys and values, by layer and sub-layer.
  int64_t length = 0;              ///< Tokens seen.
  torch::Tensor padding;  ///< Which of them are padding, bool (B, length); undefined if none.

  /// Keeps the batch rows `index`, in that order. `same_memory` says that the rows which take each
  /// other's place read the same memory, as the beams of one sentence do; the keys and values of
  /// the memory then stay as they are.
  void select(const torch::Tensor& index, bool same_memory = false) {
    for (auto& layer : layers) {
      for (auto& entry : layer) {
        if (!(same_memory && entry.of_memory)) entry.select(index);
      }
    }
    if (padding.defined()) padding = padding.index_select(0, index);
  }
};

/// A stack of layers of causal self-attention, attention to the encoder's output (unless the
/// options leave it out) and feed-forward, each in the scheme's residual. Without cross-attention
/// it is the stack of a decoder-only model. Shapes: x and y are (B, T, embed_dim), memory (B, S,
/// embed_dim).
class DecoderImpl : public detail::StackModule<DecoderImpl> {
 public:
  DecoderImpl(const Scheme& scheme, const StackOptions& options_)
      : StackModule("Decoder", scheme, options_, Stack::kDecoder) {}
  /// Of layers made by the caller, such as those with a block of their own; they are re-initialised
  /// as the scheme has it.
  DecoderImpl(const Scheme& scheme, const StackOptions& options_, std::vector<Layer> layers_)
      : StackModule("Decoder", scheme, options_, Stack::kDecoder, std::move(layers_)) {}

  /// Causal unless `mask` says otherwise. With a cache, x holds the tokens that follow those in it;
  /// they are added to it, unless something throws.
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

    auto next = cache->layers;  // handles: the cache stays as it is until all has gone well
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
