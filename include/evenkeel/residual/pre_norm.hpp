// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// Pre-LN, y = x + f(norm(x)), with one more norm where the stack ends.
/// Paper: Xiong et al. 2020, https://arxiv.org/abs/2002.04745.
struct PreNorm {
  static constexpr const char* kName = "Pre-LN";
  static constexpr NormPlacement kNorm = NormPlacement::kBeforeBranch;
};

}  // namespace evenkeel
