// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// Keel, y = norm(n * x + f(norm(x))), n the residual sub-layers of the stack.
/// Paper: Chen and Wei 2026, https://arxiv.org/abs/2601.19895.
struct Keel {
  static constexpr const char* kName = "keel";
  static constexpr const char* kTitle = "Keel";
  static constexpr const char* kSummary = "y = norm(n * x + f(norm(x))), n the depth of the stack";
  static Norms norms(const Position&) { return Norms::at_sum().and_input(); }
  static Gain shortcut(const Position& position) {
    return Gain::fixed(static_cast<double>(position.num_res_layers));
  }
};

}  // namespace evenkeel
