// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// Mix-LN, Post-LN in the first quarter of the layers, Pre-LN in the others.
/// Paper: Li et al. 2024, https://arxiv.org/abs/2412.13795, alpha = .25.
struct MixLN {
  static constexpr const char* kName = "mixln";
  static constexpr const char* kTitle = "Mix-LN";
  static constexpr const char* kSummary = "Post-LN in the first quarter of the layers, then Pre-LN";
  static Norms norms(const Position& position) {
    return 4 * (position.layer + 1) <= position.num_layers() ? Norms::at_sum() : Norms::at_input();
  }
};

}  // namespace evenkeel
