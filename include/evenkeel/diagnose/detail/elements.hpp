// SPDX-License-Identifier: MIT
#pragma once

#include <torch/types.h>
#include <torch/utils.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace evenkeel::detail {

/// An alias of a strided tensor, with dimensions of stride 0 (as `expand()` makes) narrowed to
/// size 1. It has its own version counter, so writing through it does not invalidate a graph that
/// saved the tensor.
inline torch::Tensor without_repeats(const torch::Tensor& tensor) {
  const torch::NoGradGuard no_grad;
  torch::Tensor alias = tensor.variable_data();
  for (int64_t dim = 0; dim < alias.dim(); ++dim) {
    if (alias.stride(dim) == 0 && alias.size(dim) > 1) alias = alias.narrow(dim, 0, 1);
  }
  return alias;
}

/// The elements of a strided tensor, as an alias like the above. It is one-dimensional if the
/// tensor is dense in memory, in whatever order of dimensions.
inline torch::Tensor elements_of(const torch::Tensor& tensor) {
  const torch::NoGradGuard no_grad;
  const auto alias = without_repeats(tensor);
  return alias.is_non_overlapping_and_dense() ? alias.as_strided({alias.numel()}, {1}) : alias;
}

/// The number of elements that a tensor spans in memory, gaps included.
inline int64_t extent_of(const torch::Tensor& tensor) {
  int64_t extent = 1;
  for (int64_t dim = 0; dim < tensor.dim(); ++dim) {
    extent += (tensor.size(dim) - 1) * tensor.stride(dim);
  }
  return extent;
}

/// Returns whether the storage of a tensor still covers all of its elements.
inline bool has_memory(const torch::Tensor& tensor) {
  if (tensor.numel() == 0) return true;
  const auto end = (tensor.storage_offset() + extent_of(tensor)) * tensor.element_size();
  const auto& storage = tensor.storage();
  return storage.data() != nullptr && storage.nbytes() >= static_cast<size_t>(end);
}

/// The address of the first byte of a tensor, and of the byte after its last.
inline std::pair<uintptr_t, uintptr_t> addresses_of(const torch::Tensor& tensor) {
  const auto begin = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  return {begin, begin + static_cast<uintptr_t>(extent_of(tensor) * tensor.element_size())};
}

}  // namespace evenkeel::detail
