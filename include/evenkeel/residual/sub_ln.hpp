// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/depth_factors.hpp>
#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// Sub-LN (Magneto), Pre-LN with one more norm in the branch, before its last matrix, and weights
/// scaled by gamma, see `subln_gamma`. torchscale scales other initial weights: the init
/// `subln-torchscale`.
/// Paper: Wang et al. 2022, https://arxiv.org/abs/2210.06423.
struct SubLN {
  static constexpr const char* kName = "subln";
  static constexpr const char* kTitle = "Sub-LN";
  static constexpr const char* kSummary =
      "Pre-LN with a norm before the branch's last matrix, weights scaled by gamma";
  static Norms norms(const Position&) { return Norms::at_input().and_inside(); }
  static Draw draw(Role role, const Position& position) { return subln_draw(role, position); }
};

}  // namespace evenkeel
