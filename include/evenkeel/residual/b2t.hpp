// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// B2T, Post-LN whose last sub-layer in each layer adds the layer's input once more:
/// y = norm(x_layer + x + f(x)).
/// Paper: Takase et al. 2022, https://arxiv.org/abs/2206.00330.
struct B2T {
  static constexpr const char* kName = "b2t";
  static constexpr const char* kTitle = "B2T";
  static constexpr const char* kSummary =
      "Post-LN; a layer's last sub-layer adds the layer's input once more";
  static constexpr StreamKind kStream = StreamKind::kLayerInput;
  static Norms norms(const Position&) { return Norms::at_sum(); }
};

}  // namespace evenkeel
