// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace evenkeel::detail {

/// Which kernel of short attention: one is compiled for each.
struct AttentionForm {
  uint64_t dim : 8;   ///< Columns of a head.
  uint64_t type : 2;  ///< Of q, k, v and y: 1 bfloat16, 2 half.
  uint64_t mask : 2;  ///< 0 none, else the type of its numbers, plus 1.
  uint64_t causal : 1;
  uint64_t keys : 3;  ///< Most of them: 16 times 2 to the power of that.
  uint64_t backward : 1;
  uint64_t device : 8;
  uint64_t unused : 39;

  int most_keys() const { return 16 << static_cast<int>(keys); }
};

}  // namespace evenkeel::detail
