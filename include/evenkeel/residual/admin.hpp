// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/omega.hpp>
#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

/// Admin, y = norm(omega * x + f(x)): omega starts at `omega_init()` of the stack's depth and is
/// trained, one value per channel. Paper: Liu et al. 2020, https://arxiv.org/abs/2004.08249.
template <OutputChangeScale kScale>
struct AdminScheme {
  static constexpr const char* kName =
      kScale == OutputChangeScale::kO1 ? "Admin O(1)" : "Admin O(logn)";
  static constexpr NormPlacement kNorm = NormPlacement::kAfterSum;
  static Gain shortcut(const Position& position) {
    return Gain::trained(omega_init(position.num_res_layers, kScale), GainShape::kPerChannel);
  }
};

/// The output change grows as O(log n), admin-torch's default.
using Admin = AdminScheme<OutputChangeScale::kOLogN>;
/// The output change does not grow with depth.
using AdminO1 = AdminScheme<OutputChangeScale::kO1>;

}  // namespace evenkeel
