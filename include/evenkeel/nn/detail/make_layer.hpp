// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/position.hpp>
#include <evenkeel/nn/any_branch.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/blocks.hpp>
#include <evenkeel/nn/detail/block_parts.hpp>
#include <evenkeel/nn/feed_forward.hpp>
#include <evenkeel/nn/inside_norm.hpp>
#include <evenkeel/nn/layer.hpp>
#include <evenkeel/nn/parallel.hpp>
#include <evenkeel/nn/stack_options.hpp>
#include <evenkeel/nn/sublayer.hpp>
#include <evenkeel/residual/norm_type.hpp>
#include <evenkeel/residual/residual.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::nn::detail {

/// The kinds of the sub-layers of each layer, from the stack's options. A parallel block is one.
inline std::vector<SublayerKind> sublayer_kinds(const StackOptions& options, Stack stack) {
  if (find_block(options.block()).parallel) return {SublayerKind::kOther};
  if (!options.sublayers().empty()) return options.sublayers();
  if (stack == Stack::kDecoder && options.cross_attention()) {
    return {SublayerKind::kSelfAttention,
            SublayerKind::kCrossAttention,
            SublayerKind::kFeedForward};
  }
  return {SublayerKind::kSelfAttention, SublayerKind::kFeedForward};
}

/// Makes the branch of a sub-layer from the stack's options.
inline AnyBranch make_branch(const Scheme& scheme,
                             const StackOptions& options,
                             const Position& position,
                             SublayerKind kind) {
  const auto& block = find_block(options.block());
  const auto norms = scheme.norms(position);
  const auto norm_if = [&](bool is_there) {
    return is_there ? InsideNorm{options.norm(), options.norm_eps(), scheme.norm_gain(position)}
                    : InsideNorm();
  };
  switch (kind) {
    case SublayerKind::kSelfAttention:
    case SublayerKind::kCrossAttention: {
      const auto attention =
          MultiHeadAttentionOptions(options.embed_dim(), options.num_heads())
              .num_kv_heads(options.num_kv_heads())
              .bias(options.bias())
              .dropout(options.attention_dropout())
              .query_key_norm(block.query_key_norm
                                  ? InsideNorm{NormKind::kRmsNorm, options.norm_eps()}
                                  : norm_if(norms.query_key))
              .value_norm(norm_if(norms.value))
              .head_gain(scheme.head_gain(position))
              .inside_norm(norm_if(norms.inside));
      return block_attention(block, options, attention, position.layer, kind);
    }
    case SublayerKind::kFeedForward:
      return {FeedForward(FeedForwardOptions(options.embed_dim(), options.dim_feedforward())
                              .activation(options.activation())
                              .negative_slope(options.negative_slope())
                              .bias(options.bias())
                              .dropout(options.activation_dropout())
                              .inside_norm(norm_if(norms.inside))),
              kind};
    case SublayerKind::kOther:
      break;
  }
  TORCH_CHECK(block.parallel,
              "a stack makes attention and feed-forward; for a block of your own, pass the layers");
  ParallelOptions gains;
  if (block.gains) {
    const auto of_block = block.gains(options.num_layers());
    gains.attention(of_block.attention_resid).feed_forward(of_block.feed_forward_resid);
  }
  return {Parallel(make_branch(scheme, options, position, SublayerKind::kSelfAttention),
                   make_branch(scheme, options, position, SublayerKind::kFeedForward),
                   gains),
          kind};
}

/// The type of the norms at the ends of a stack: its own, but of a block without norms LayerNorm.
inline NormType end_norm(const StackOptions& options) {
  const bool bare = options.norm().is_none() && options.block() != "default";
  return bare ? NormType(NormKind::kLayerNorm) : options.norm();
}

/// Makes one layer of a stack, with each sub-layer in the scheme's residual.
inline Layer make_layer(const Scheme& scheme,
                        const StackOptions& options,
                        Stack stack,
                        int64_t layer) {
  constexpr std::array kNames{"self_attn", "cross_attn", "feed_forward", "parallel"};
  const auto kinds = sublayer_kinds(options, stack);
  std::vector<Sublayer> sublayers;
  for (size_t i = 0; i < kinds.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    const auto position = position_in(options, stack, kinds, layer, index);
    const auto before = std::count(kinds.begin(), kinds.begin() + index, kinds[i]);
    const auto branch = make_branch(scheme, options, position, kinds[i]);
    auto of_residual = ResidualOptions(position, options.embed_dim())
                           .dropout(options.dropout())
                           .norm(layer == 0 && i == 0 ? end_norm(options) : options.norm())
                           .eps(options.norm_eps());
    if (i > 0) of_residual.shares_gain_of(sublayers.front().residual.ptr());
    std::string name = kNames[static_cast<size_t>(kinds[i])];
    if (before > 0) name += "_" + std::to_string(before + 1);
    sublayers.emplace_back(name, kinds[i], branch, Residual<>(scheme, of_residual));
  }
  return Layer(std::move(sublayers));
}

}  // namespace evenkeel::nn::detail
