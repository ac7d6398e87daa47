// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstring>

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

  uint64_t key() const {
    uint64_t key = 0;
    static_assert(sizeof(*this) == sizeof(key));
    std::memcpy(&key, this, sizeof(key));
    return key;
  }
  static AttentionForm of_key(uint64_t key) {
    AttentionForm form{};
    std::memcpy(&form, &key, sizeof(key));
    return form;
  }
  int most_keys() const { return 16 << static_cast<int>(keys); }
};

}  // namespace evenkeel::detail
