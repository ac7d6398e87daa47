// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/head_strides.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>

#include <ATen/ATen.h>

#include <cstdint>

namespace evenkeel::detail {

/// Heads (B, num_heads, T, head_dim) as kernels read them: of that type, columns side by side, rows
/// aligned for their loads.
inline at::Tensor heads_ready(const at::Tensor& tensor, at::ScalarType type) {
  const auto ready = as_numbers(tensor, type);
  const auto bytes = static_cast<int64_t>(ready.element_size());
  bool is_ready = ready.stride(3) == 1 && ready.size(3) * bytes % 16 == 0 &&
                  reinterpret_cast<uintptr_t>(ready.const_data_ptr()) % 16 == 0;
  for (int64_t i = 0; i < 3; ++i) is_ready = is_ready && ready.stride(i) * bytes % 16 == 0;
  return is_ready ? ready : ready.clone(at::MemoryFormat::Contiguous);
}

inline HeadStrides strides_of(const at::Tensor& tensor) {
  return {tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

/// Memory for a tensor of that one's shape, in which the heads of a position are side by side.
inline at::Tensor new_heads(const at::Tensor& like, at::ScalarType type) {
  return at::empty({like.size(0), like.size(2), like.size(1), like.size(3)},
                   like.options().dtype(type).requires_grad(false))
      .transpose(1, 2);
}

}  // namespace evenkeel::detail
