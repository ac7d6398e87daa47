// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// Pre-LN, y = x + f(norm(x)), with one more norm at the end of the stack.
/// Paper: Xiong et al. 2020, https://arxiv.org/abs/2002.04745.
struct PreNorm {
  static constexpr const char* kName = "pre";
  static constexpr const char* kTitle = "Pre-LN";
  static constexpr const char* kSummary = "y = x + f(norm(x)), and a norm at the stack's end";
  static Norms norms(const Position&) { return Norms::at_input(); }
};

}  // namespace evenkeel
