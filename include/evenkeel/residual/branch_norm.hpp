// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>

#include <cstdint>

namespace evenkeel {

/// BranchNorm, y = norm(x + a * f(x)): a grows linearly to 1 in the first 4,000 updates, so that
/// the model ends as Post-LN; `branch_norm(steps)` is for another number. Training code calls
/// `set_training_step` before each update.
/// Paper: Liu et al. 2023, https://arxiv.org/abs/2305.02790.
struct BranchNorm {
  static constexpr const char* kName = "branchnorm";
  static constexpr const char* kTitle = "BranchNorm";
  static constexpr const char* kSummary =
      "y = norm(x + a * f(x)), a grows to 1 in the first 4,000 updates";
  static Norms norms(const Position&) { return Norms::at_sum(); }
  static Gain branch(const Position&) { return Gain::ramp(1.0, 4000); }
};

/// `BranchNorm` whose gain grows in the first `steps` updates.
inline Scheme branch_norm(int64_t steps) {
  TORCH_CHECK(steps >= 1, "branch_norm: expected steps >= 1, but got ", steps);
  auto scheme = scheme_of<BranchNorm>();
  scheme.branch = [steps](const Position&) { return Gain::ramp(1.0, steps); };
  return scheme;
}

}  // namespace evenkeel
