// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace evenkeel::detail {

/// Which kernel of a bias's gradient: one is compiled for each.
struct BiasForm {
  uint64_t dim : 16;  ///< Columns.
  uint64_t type : 2;  ///< Of the gradients: 0 float, 1 bfloat16, 2 half.
  uint64_t relu : 1;  ///< Is there a ReLU behind the bias.
  uint64_t device : 8;
  uint64_t unused : 37;
};

}  // namespace evenkeel::detail
