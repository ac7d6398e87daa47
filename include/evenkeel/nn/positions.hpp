// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>

namespace evenkeel::nn {

/// The sinusoidal positions of `length` tokens, float32 of shape (length, embed_dim):
///
///     p[t, 2i] = sin(t / 10000^(2i / embed_dim)),  p[t, 2i + 1] = cos(t / 10000^(2i / embed_dim))
///
/// Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
inline torch::Tensor sinusoidal_positions(int64_t length, int64_t embed_dim) {
  TORCH_CHECK(length >= 0 && embed_dim > 0 && embed_dim % 2 == 0,
              "sinusoidal_positions: expected length >= 0 and an even embed_dim, but got ",
              length,
              " and ",
              embed_dim);
  const auto t = torch::arange(length, torch::kFloat64).unsqueeze(1);
  const auto i = torch::arange(0, embed_dim, 2, torch::kFloat64);
  const auto angle = t * torch::exp(i * (-std::log(10000.0) / static_cast<double>(embed_dim)));
  return torch::stack({angle.sin(), angle.cos()}, 2).view({length, embed_dim}).to(torch::kFloat32);
}

}  // namespace evenkeel::nn
