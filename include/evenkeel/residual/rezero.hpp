// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// ReZero, y = x + a * f(x) without norms: one scalar a for each layer, trained from 0.
/// Paper: Bachlechner et al. 2020, https://arxiv.org/abs/2003.04887; code: majumderb/rezero, whose
/// `resweight` the sub-layers of a layer share. With one scalar for each branch it is `SkipInit`.
struct ReZero {
  static constexpr const char* kName = "rezero";
  static constexpr const char* kTitle = "ReZero";
  static constexpr const char* kSummary =
      "y = x + a * f(x), one a per layer, trained from 0; no norm";
  static Norms norms(const Position&) { return Norms::none(); }
  static Gain branch(const Position&) {
    return Gain::trained(0.0, GainShape::kScalar).shared_in_layer();
  }
};

/// SkipInit, y = x + a * f(x) without norms: one scalar a for each branch, trained from 0.
/// Paper: De and Smith 2020, https://arxiv.org/abs/2002.10444, there for residual networks.
struct SkipInit {
  static constexpr const char* kName = "skipinit";
  static constexpr const char* kTitle = "SkipInit";
  static constexpr const char* kSummary =
      "y = x + a * f(x), one a per branch, trained from 0; no norm";
  static Norms norms(const Position&) { return Norms::none(); }
  static Gain branch(const Position&) { return Gain::trained(0.0, GainShape::kScalar); }
};

}  // namespace evenkeel
