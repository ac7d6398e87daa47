// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// ResiDual, a Post-LN stream and a second one that sums the branches without norms:
/// x = norm(x + f(x)), second = second + f(x), and x + norm(second) at the stack's end.
/// Paper: Xie et al. 2023, https://arxiv.org/abs/2304.14802.
struct ResiDual {
  static constexpr const char* kName = "residual-dual";
  static constexpr const char* kTitle = "ResiDual";
  static constexpr const char* kSummary =
      "Post-LN beside a second stream without norms; the stack ends in x + norm(second)";
  static constexpr StreamKind kStream = StreamKind::kDual;
  static Norms norms(const Position&) { return Norms::at_sum(); }
};

}  // namespace evenkeel
