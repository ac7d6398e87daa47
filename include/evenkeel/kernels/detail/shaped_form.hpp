// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace evenkeel::detail {

/// What decides which kernel computes the sum of shaped attention, in one word.
struct ShapedForm {
  uint64_t dim : 9;                                           ///< Columns of a head.
  uint64_t a : 2, v : 2, y : 2, gain : 2;                     ///< Types, see type_code().
  uint64_t alpha_count : 2, beta_count : 2, gamma_count : 2;  ///< 0 none, 1 a number, 2 by head.
  uint64_t identity : 1, centred : 1, causal : 1;
  uint64_t rows : 2;  ///< Of each group of threads in a tile: 2 to the power of that.
  uint64_t backward : 1;
  uint64_t dalpha : 1, dbeta : 1, dgamma : 1;  ///< Wanted beside that of v.
  uint64_t device : 8;
  uint64_t unused : 24;

  bool any_float() const { return a == 0U || v == 0U || y == 0U; }
};

}  // namespace evenkeel::detail
