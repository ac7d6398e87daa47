// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// Post-LN, y = norm(x + f(x)): the Transformer as first published. Its output change grows as
/// O(n), so deep stacks diverge. Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
struct PostNorm {
  static constexpr const char* kName = "Post-LN";
  static constexpr NormPlacement kNorm = NormPlacement::kAfterSum;
};

}  // namespace evenkeel
