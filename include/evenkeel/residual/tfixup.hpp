// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/depth_factors.hpp>
#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// T-Fixup, y = x + f(x) without any norm or warm-up: what keeps it stable is how its weights
/// begin. Paper: Huang et al., ICML 2020; source: layer6ai-labs/T-Fixup.
struct TFixup {
  static constexpr const char* kName = "T-Fixup";
  static constexpr NormPlacement kNorm = NormPlacement::kNone;
  static double init_factor(Role role, const Position& position) {
    return tfixup_factor(role, position);
  }
};

}  // namespace evenkeel
