// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

#include <cstdint>

namespace evenkeel {

/// LayerScale, y = x + g * f(norm(x)): g is trained, one value per channel, from .1 in a stack of
/// at most 18 layers, 1e-5 in one of at most 24, and 1e-6 in a deeper one. Paper: Touvron et al.
/// 2021 (CaiT), https://arxiv.org/abs/2103.17239.
struct LayerScale {
  static constexpr const char* kName = "layerscale";
  static constexpr const char* kTitle = "LayerScale";
  static constexpr const char* kSummary =
      "y = x + g * f(norm(x)), g per channel, trained from .1, 1e-5 or 1e-6";
  static Norms norms(const Position&) { return Norms::at_input(); }
  static Gain branch(const Position& position) {
    const int64_t layers = position.num_layers();
    return Gain::trained(layers <= 18 ? 0.1 : layers <= 24 ? 1e-5 : 1e-6, GainShape::kPerChannel);
  }
};

}  // namespace evenkeel
