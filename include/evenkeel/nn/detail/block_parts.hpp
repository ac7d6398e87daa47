// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/position.hpp>
#include <evenkeel/nn/any_branch.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/blocks.hpp>
#include <evenkeel/nn/shaped_attention.hpp>
#include <evenkeel/nn/stack_options.hpp>
#include <evenkeel/residual/gain.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace evenkeel::nn::detail {

/// The same scheme with the gains of a block. Cross-attention has none, and a parallel block the
/// shortcut of its attention: the gains of its branches are its own.
inline Scheme with_gains(Scheme scheme, const BlockGains& gains) {
  scheme.shortcut = [gains](const Position& position) {
    if (position.kind == SublayerKind::kCrossAttention) return Gain::one();
    return position.kind == SublayerKind::kFeedForward ? gains.feed_forward_skip
                                                       : gains.attention_skip;
  };
  scheme.branch = [gains](const Position& position) {
    if (position.kind == SublayerKind::kSelfAttention) return gains.attention_resid;
    return position.kind == SublayerKind::kFeedForward ? gains.feed_forward_resid : Gain::one();
  };
  return scheme;
}

/// The attention of a block. In the first layer, shaped attention has a value matrix, which begins
/// as the identity; in cross-attention it has value and output, and begins at 0.
inline AnyBranch block_attention(const Block& block,
                                 const MultiHeadAttentionOptions& attention,
                                 int64_t layer,
                                 SublayerKind kind) {
  if (block.attention == Block::Attention::kPlain) return {MultiHeadAttention(attention), kind};
  ShapedAttentionOptions options(attention);
  if (kind == SublayerKind::kCrossAttention) {
    options.identity(false).value(Projection::linear()).output(Projection::linear());
    return {ShapedAttention(options), kind};
  }
  if (layer == 0) options.value(Projection::reparam());
  if (block.attention == Block::Attention::kValueSkipInit) {
    options.centred(false).zero_query(false).beta(Gain::trained(0.0, GainShape::kPerChannel));
  }
  return {ShapedAttention(options), kind};
}

/// Throws unless the block can be built with the scheme and the options of a stack.
inline void check_block(const Block& block,
                        const Scheme& scheme,
                        const StackOptions& options,
                        Stack stack) {
  using Kinds = std::vector<SublayerKind>;
  const Kinds usual{SublayerKind::kSelfAttention, SublayerKind::kFeedForward};
  TORCH_CHECK(
      !block.parallel || ((options.sublayers().empty() || options.sublayers() == usual) &&
                          !(stack == Stack::kDecoder && options.cross_attention())),
      "block ",
      block.name,
      ": expected layers of self-attention and feed-forward alone, as they are parallel, but "
      "got other sub-layers; a decoder-only model says cross_attention(false)");
  const auto in_stack =
      stack == Stack::kEncoder ? &Position::encoder_only : &Position::decoder_only;
  for (int64_t layer = 0; layer < options.num_layers(); ++layer) {
    auto attention = in_stack(options.num_layers(), layer, 0, usual);
    auto feed_forward = in_stack(options.num_layers(), layer, 1, usual);
    for (auto* position : {&attention, &feed_forward}) {
      (stack == Stack::kEncoder ? position->decoder_layers : position->encoder_layers) =
          options.other_layers();
    }
    if (block.gains) {
      for (const auto& position : {attention, feed_forward}) {
        const auto norms = scheme.norms(position);
        TORCH_CHECK(scheme.stream == StreamKind::kPlain &&
                        (norms == Norms::none() || norms == Norms::at_input()) &&
                        scheme.shortcut(position).kind == Gain::Kind::kOne &&
                        scheme.branch(position).kind == Gain::Kind::kOne &&
                        scheme.head_gain(position).kind == Gain::Kind::kOne,
                    "block ",
                    block.name,
                    ": expected a scheme without gains whose only norm is at the branch's input, "
                    "such as pre, as the block has gains of its own, but got ",
                    scheme.title);
      }
    }
    const auto same = [](const Gain& a, const Gain& b) {
      return a.kind == b.kind && a.value == b.value && a.shape == b.shape;
    };
    TORCH_CHECK(
        !block.parallel || (scheme.stream == StreamKind::kPlain &&
                            scheme.norms(attention) == scheme.norms(feed_forward) &&
                            same(scheme.shortcut(attention), scheme.shortcut(feed_forward)) &&
                            same(scheme.branch(attention), scheme.branch(feed_forward))),
        "block ",
        block.name,
        ": expected a scheme with one stream that treats attention and feed-forward alike, "
        "as they share a residual, but got ",
        scheme.title);
  }
}

}  // namespace evenkeel::nn::detail
