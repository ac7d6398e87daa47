// SPDX-License-Identifier: MIT
#pragma once

#include <c10/util/Exception.h>

namespace evenkeel::nn::detail {

/// Throws unless a dropout probability is in [0, 1); NaN is not.
inline void check_probability(const char* module, const char* name, double value) {
  TORCH_CHECK(value >= 0.0 && value < 1.0,
              module,
              ": expected ",
              name,
              " in [0, 1), but got ",
              value);
}

}  // namespace evenkeel::nn::detail
