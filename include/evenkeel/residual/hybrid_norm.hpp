// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// HybridNorm: norms of each head's query, key and value instead of a norm around the attention,
/// and a norm of the stream before the feed-forward: x = norm(x), y = x + f(x). A norm ends the
/// stack. Paper: Zhuo et al. 2025, https://arxiv.org/abs/2503.04598; code: BryceZhuo/HybridNorm.
struct HybridNorm {
  static constexpr const char* kName = "hybridnorm";
  static constexpr const char* kTitle = "HybridNorm";
  static constexpr const char* kSummary =
      "norms of query, key and value, and of the stream before the feed-forward";
  static Norms norms(const Position& position) {
    return is_attention(position) ? Norms::none().and_query_key().and_value()
                                  : Norms::none().and_stream();
  }

  static bool is_attention(const Position& position) {
    return position.kind == SublayerKind::kSelfAttention ||
           position.kind == SublayerKind::kCrossAttention;
  }
};

/// HybridNorm*: in the first layer, attention has a norm of its input in addition, and feed-forward
/// no shortcut.
struct HybridNormStar {
  static constexpr const char* kName = "hybridnorm-star";
  static constexpr const char* kTitle = "HybridNorm*";
  static constexpr const char* kSummary =
      "HybridNorm; its first layer has a norm before attention, and no shortcut of feed-forward";
  static Norms norms(const Position& position) {
    const auto norms = HybridNorm::norms(position);
    const bool pre = position.layer == 0 && HybridNorm::is_attention(position);
    return pre ? norms.and_input() : norms;
  }
  static Gain shortcut(const Position& position) {
    const bool none = position.layer == 0 && position.kind == SublayerKind::kFeedForward;
    return none ? Gain::zero() : Gain::one();
  }
};

}  // namespace evenkeel
