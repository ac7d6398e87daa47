// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>

#include <cstdint>

namespace evenkeel {

/// CompleteP, y = x + f(norm(x)) / m for a stack m times as deep as the base depth, here the
/// paper's two layers; `complete_p(base_layers)` is for another. Tuned at the base depth, the
/// learning rate holds at every depth; the paper's rules on width are not part of the scheme.
/// Paper: Dey et al. 2025, https://arxiv.org/abs/2505.01618, alpha = 1.
struct CompleteP {
  static constexpr const char* kName = "completep";
  static constexpr const char* kTitle = "CompleteP";
  static constexpr const char* kSummary =
      "y = x + f(norm(x)) / m, m the depth over a base depth of 2";
  static Norms norms(const Position&) { return Norms::at_input(); }
  static Gain branch(const Position& position) {
    return Gain::fixed(2.0 / static_cast<double>(position.num_layers()));
  }
};

/// `CompleteP` for another base depth, the number of layers of the stack that was tuned.
inline Scheme complete_p(int64_t base_layers) {
  TORCH_CHECK(base_layers >= 1, "complete_p: expected base_layers >= 1, but got ", base_layers);
  auto scheme = scheme_of<CompleteP>();
  scheme.branch = [base_layers](const Position& position) {
    return Gain::fixed(static_cast<double>(base_layers) /
                       static_cast<double>(position.num_layers()));
  };
  return scheme;
}

}  // namespace evenkeel
