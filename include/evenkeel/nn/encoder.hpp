// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/attention_mask.hpp>
#include <evenkeel/nn/detail/stack.hpp>
#include <evenkeel/nn/layer.hpp>
#include <evenkeel/nn/stack_options.hpp>
#include <evenkeel/residual/scheme_holder.hpp>

#include <torch/types.h>

#include <utility>
#include <vector>

namespace evenkeel::nn {

/// A stack of layers of self-attention and feed-forward, each in the scheme's residual. For an
/// encoder-only model, add an embedding; for a decoder-only model, see `LanguageModel`.
/// Shapes: x and y are (B, T, embed_dim).
class EncoderImpl : public detail::StackModule<EncoderImpl> {
 public:
  EncoderImpl(const Scheme& scheme, const StackOptions& options_)
      : StackModule("Encoder", scheme, options_, Stack::kEncoder) {}
  /// Constructs a stack from custom layers, which are re-initialised by the scheme.
  EncoderImpl(const Scheme& scheme, const StackOptions& options_, std::vector<Layer> layers_)
      : StackModule("Encoder", scheme, options_, Stack::kEncoder, std::move(layers_)) {}

  torch::Tensor forward(const torch::Tensor& x, const AttentionMask& mask = {}) {
    return run(x, {mask.prepare(x.size(1), x.size(1), detail::query_options(x)), {}, {}});
  }

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())})
};

/// A holder of `EncoderImpl`; see `SchemeHolder`.
template <typename S = Scheme>
class Encoder : public SchemeHolder<EncoderImpl, StackOptions, S> {
 public:
  using SchemeHolder<EncoderImpl, StackOptions, S>::SchemeHolder;
};

}  // namespace evenkeel::nn

template <typename S>
struct evenkeel::AnatomyOf<evenkeel::nn::Encoder<S>> {
  static void describe(nn::EncoderImpl& encoder, AnatomyBuilder& anatomy) {
    anatomy.encoder(encoder.layers);
  }
};
