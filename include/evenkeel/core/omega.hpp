// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/error.hpp>

#include <cmath>
#include <cstdint>

namespace evenkeel {

/// The shortcut scale omega of y = LN(omega * x + f(x)) for a stack of `num_res_layers` residual
/// sub-layers (2N for an encoder of N layers, 3M for a decoder of M with cross-attention):
///
///     O(n)      1
///     O(logn)   sqrt((n + 1) / ln(n + 1) - 1)
///     O(1)      sqrt(n)
///
/// The output change is about C * sum_i 1 / (omega_i^2 + 1) when x and every f have unit variance,
/// so these values make it n/2, n ln(n+1)/(n+1) and n/(n+1).
/// Source: microsoft/admin-torch 0.1.0, `calculate_init`; paper: https://arxiv.org/abs/2004.08249.
/// Throws std::invalid_argument for num_res_layers < 1.
inline double omega_init(int64_t num_res_layers,
                         OutputChangeScale scale = OutputChangeScale::kOLogN) {
  detail::require(num_res_layers >= 1,
                  "omega_init: expected num_res_layers >= 1, but got ",
                  num_res_layers);
  const auto n = static_cast<double>(num_res_layers);
  switch (scale) {
    case OutputChangeScale::kON:
      return 1.0;
    case OutputChangeScale::kOLogN:
      return std::sqrt((n + 1.0) / std::log(n + 1.0) - 1.0);
    case OutputChangeScale::kO1:
      return std::sqrt(n);
  }
  detail::require(false, "omega_init: unknown output_change_scale");
  return 0.0;
}

}  // namespace evenkeel
