// SPDX-License-Identifier: MIT
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace evenkeel::nn {

/// Cached keys and values, each (B, num_kv_heads, S, embed_dim / num_heads).
struct KeyValueCache {
  torch::Tensor key;
  torch::Tensor value;

  /// The number of cached tokens, S.
  int64_t length() const { return key.defined() ? key.size(2) : 0; }

  /// Keeps the batch rows `index`, in that order.
  void select(const torch::Tensor& index) {
    if (!key.defined()) return;
    key = key.index_select(0, index);
    value = value.index_select(0, index);
  }
};

}  // namespace evenkeel::nn
