// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// Post-LN, y = norm(x + f(x)): the Transformer as first published. Its output change grows as
/// O(n), so deep stacks diverge. Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
struct PostNorm {
  static constexpr const char* kName = "post";
  static constexpr const char* kTitle = "Post-LN";
  static constexpr const char* kSummary = "y = norm(x + f(x)), as first published";
  static Norms norms(const Position&) { return Norms::at_sum(); }
};

}  // namespace evenkeel
