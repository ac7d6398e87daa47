// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// NormFormer, Pre-LN with a norm after the attention, one before the feed-forward's last matrix,
/// and a trained gain for each head. The paper's residual gain of small models is left out.
/// Paper: Shleifer et al. 2021, https://arxiv.org/abs/2110.09456.
struct NormFormer {
  static constexpr const char* kName = "normformer";
  static constexpr const char* kTitle = "NormFormer";
  static constexpr const char* kSummary =
      "Pre-LN with a norm after attention, one in the feed-forward, and head gains";
  static Norms norms(const Position& position) {
    switch (position.kind) {
      case SublayerKind::kSelfAttention:
      case SublayerKind::kCrossAttention:
        return Norms::at_input().and_branch();
      case SublayerKind::kFeedForward:
        return Norms::at_input().and_inside();
      case SublayerKind::kOther:
        break;
    }
    return Norms::at_input();
  }
  static Gain head_gain(const Position&) { return Gain::trained(1.0, GainShape::kPerChannel); }
};

}  // namespace evenkeel
