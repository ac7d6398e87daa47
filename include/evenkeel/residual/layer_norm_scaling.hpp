// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

#include <cmath>

namespace evenkeel {

/// LayerNorm Scaling, Pre-LN whose norms in layer l, from 1, are multiplied by 1/sqrt(l).
/// Paper: Sun et al. 2025, https://arxiv.org/abs/2502.05795, which advises against a scaled
/// initialisation beside it.
struct LayerNormScaling {
  static constexpr const char* kName = "lns";
  static constexpr const char* kTitle = "LayerNorm Scaling";
  static constexpr const char* kSummary = "y = x + f(norm(x) / sqrt(l)) in layer l";
  static Norms norms(const Position&) { return Norms::at_input(); }
  static double norm_gain(const Position& position) {
    return 1.0 / std::sqrt(static_cast<double>(position.layer + 1));
  }
};

}  // namespace evenkeel
