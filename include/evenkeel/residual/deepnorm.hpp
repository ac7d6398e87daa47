// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/depth_factors.hpp>
#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// DeepNorm, y = norm(alpha * x + f(x)) with a constant alpha, and weights of gain beta: both
/// depend on the depth of both stacks, see `deepnorm_factors`. torchscale begins with other
/// weights: the init `deepnet-torchscale`. Paper: Wang et al. 2022,
/// https://arxiv.org/abs/2203.00555, Fig. 2.
struct DeepNorm {
  static constexpr const char* kName = "deepnorm";
  static constexpr const char* kTitle = "DeepNorm";
  static constexpr const char* kSummary =
      "y = norm(alpha * x + f(x)), alpha constant, weights scaled by beta";
  static Norms norms(const Position&) { return Norms::at_sum(); }
  static Gain shortcut(const Position& position) {
    return Gain::fixed(deepnorm_factors(position).alpha);
  }
  static Draw draw(Role role, const Position& position) { return deepnorm_draw(role, position); }
};

}  // namespace evenkeel
