// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

#include <cmath>

namespace evenkeel {

/// SiameseNorm, a Post-LN stream x and a Pre-LN stream that share their branches:
///
///     x = norm(x);  z = f(norm(x + norm(second)));  x = x + z / c;  second = second + z
///
/// with c = sqrt(2 l) in layer l, from 1, and norm(norm(x) + norm(second)) at the stack's end.
/// Paper: Li et al. 2026, https://arxiv.org/abs/2602.08064; c is that of the DeiT model in
/// Qwen-Applications/SiameseNorm.
struct SiameseNorm {
  static constexpr const char* kName = "siamesenorm";
  static constexpr const char* kTitle = "SiameseNorm";
  static constexpr const char* kSummary = "a Post-LN and a Pre-LN stream that share their branches";
  static constexpr StreamKind kStream = StreamKind::kSiamese;
  static Norms norms(const Position&) { return Norms::at_input().and_stream().and_second(); }
  static Gain branch(const Position& position) {
    return Gain::fixed(1.0 / std::sqrt(2.0 * static_cast<double>(position.layer + 1)));
  }
};

}  // namespace evenkeel
