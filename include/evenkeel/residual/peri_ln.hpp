// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// Peri-LN, y = x + norm(f(norm(x))), with one more norm at the end of the stack, as in Gemma 2;
/// also called sandwich norm. The paper's optional norm of the embedding is left out.
/// Paper: Kim et al. 2025, https://arxiv.org/abs/2502.02732.
struct PeriLN {
  static constexpr const char* kName = "peri";
  static constexpr const char* kTitle = "Peri-LN";
  static constexpr const char* kSummary = "y = x + norm(f(norm(x))), and a norm at the stack's end";
  static Norms norms(const Position&) { return Norms::at_input().and_branch(); }
};

}  // namespace evenkeel
