// SPDX-License-Identifier: MIT
#pragma once

#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <type_traits>
#include <vector>

namespace evenkeel::detail {

/// A norm over the last dimension: torch::nn::LayerNorm, or any module made from that size alone.
template <typename Norm>
Norm make_norm(int64_t embed_dim) {
  if constexpr (std::is_same_v<Norm, torch::nn::LayerNorm>) {
    return torch::nn::LayerNorm(torch::nn::LayerNormOptions({embed_dim}));
  } else {
    static_assert(std::is_constructible_v<Norm, int64_t>,
                  "Norm: pass torch::nn::LayerNorm or a module holder that is made from embed_dim");
    return Norm(embed_dim);
  }
}

}  // namespace evenkeel::detail
