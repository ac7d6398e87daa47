// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/depth_factors.hpp>
#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// T-Fixup, y = x + f(x) without norms or warm-up: its initialisation keeps a deep stack stable.
/// Paper: Huang et al., ICML 2020; source: layer6ai-labs/T-Fixup.
struct TFixup {
  static constexpr const char* kName = "tfixup";
  static constexpr const char* kTitle = "T-Fixup";
  static constexpr const char* kSummary = "y = x + f(x) with scaled weights; no norm, no warm-up";
  static constexpr bool kWarmup = false;
  static Norms norms(const Position&) { return Norms::none(); }
  static Draw draw(Role role, const Position& position) { return tfixup_draw(role, position); }
};

}  // namespace evenkeel
