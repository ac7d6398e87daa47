// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/position.hpp>
#include <evenkeel/nn/any_branch.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/blocks.hpp>
#include <evenkeel/nn/shaped_attention.hpp>
#include <evenkeel/nn/shaped_block_options.hpp>
#include <evenkeel/nn/stack_options.hpp>
#include <evenkeel/residual/gain.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>

#include <cstdint>
#include <functional>
#include <string>
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

/// The attention of a block in a layer of a stack. Cross-attention, where a query has no key of its
/// own, is the usual one in every block: of what was compared, none ended lower
/// (docs/methods/simplified.md).
inline AnyBranch block_attention(const Block& block,
                                 const StackOptions& options,
                                 const MultiHeadAttentionOptions& attention,
                                 int64_t layer,
                                 SublayerKind kind) {
  if (block.attention == Block::Attention::kPlain || kind == SublayerKind::kCrossAttention) {
    return {MultiHeadAttention(attention), kind};
  }
  ShapedAttentionOptions shaped(attention);
  const auto of_block = options.shaped().value_or(ShapedBlockOptions());
  shaped.value(of_block.value_of(layer))
      .output(of_block.output_of(layer, options.num_layers()))
      .centred(of_block.centred());
  if (block.attention == Block::Attention::kValueSkipInit) {
    shaped.centred(false).zero_query(false).beta(Gain::trained(0.0, GainShape::kPerChannel));
  }
  return {ShapedAttention(shaped), kind};
}

/// What of a scheme's residuals a block cannot have, or nothing. A block with gains of its own
/// leaves the scheme norms and initial weights; a parallel one has one residual for both branches.
inline std::string conflict(const Block& block,
                            const Scheme& scheme,
                            const Position& attention,
                            const Position& feed_forward) {
  if (!block.gains && !block.parallel) return {};
  if (scheme.stream != StreamKind::kPlain) return "a second stream";
  const auto same = [](const Gain& a, const Gain& b) {
    return a.kind == b.kind && a.value == b.value && a.shape == b.shape;
  };
  const std::pair<const char*, const std::function<Gain(const Position&)>*> gains[]{
      {"shortcut", &scheme.shortcut},
      {"branch", &scheme.branch},
      {"heads", &scheme.head_gain}};
  for (const auto& [name, gain] : gains) {
    const auto of_attention = (*gain)(attention);
    const auto of_feed_forward = (*gain)(feed_forward);
    for (const auto& each : {of_attention, of_feed_forward}) {
      if (block.gains && each.kind != Gain::Kind::kOne) return std::string("a gain of the ") + name;
    }
    if (block.parallel && gain != &scheme.head_gain && !same(of_attention, of_feed_forward)) {
      return std::string("gains of the ") + name + " that differ between the two";
    }
  }
  auto both = attention;
  both.kind = SublayerKind::kOther;
  const auto norms = scheme.norms(attention);
  if (block.parallel && (norms != scheme.norms(feed_forward) || norms != scheme.norms(both))) {
    return "norms that differ between the two";
  }
  return {};
}

/// The position of a sub-layer in a stack whose layers have sub-layers of these kinds.
inline Position position_in(const StackOptions& options,
                            Stack stack,
                            const std::vector<SublayerKind>& kinds,
                            int64_t layer,
                            int64_t sublayer) {
  const bool encoder = stack == Stack::kEncoder;
  const auto in_stack = encoder ? &Position::encoder_only : &Position::decoder_only;
  auto position = in_stack(options.num_layers(), layer, sublayer, kinds);
  (encoder ? position.decoder_layers : position.encoder_layers) = options.other_layers();
  return position;
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
  if (options.shaped()) {
    TORCH_CHECK(block.attention != Block::Attention::kPlain,
                "block ",
                block.name,
                ": expected a block with shaped attention, such as sas, for the option shaped");
    options.shaped()->check(block.name, options.num_layers());
  }
  for (int64_t layer = 0; layer < options.num_layers(); ++layer) {
    const auto found = conflict(block,
                                scheme,
                                position_in(options, stack, usual, layer, 0),
                                position_in(options, stack, usual, layer, 1));
    TORCH_CHECK(found.empty(),
                "block ",
                block.name,
                block.gains ? ": expected a scheme with one stream and without gains, as the block "
                              "has gains of its own"
                            : ": expected a scheme with one stream that treats attention and "
                              "feed-forward alike, as they share a residual",
                ", but ",
                scheme.title,
                " has ",
                found);
  }
}

}  // namespace evenkeel::nn::detail
