// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace evenkeel::detail {

/// Tensors of one device and dtype, and one uninitialised tensor that has room for all of them.
struct FlatCopies {
  std::vector<torch::Tensor> tensors;
  std::vector<torch::Tensor> copies;  ///< Views of `flat`, one for each tensor and of its shape.
  torch::Tensor flat;                 ///< (total size)
};

/// Asks for huge pages: faulting in a large block by small pages costs more than copying into it.
inline void prefer_huge_pages(const torch::Tensor& flat) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr size_t kPage = size_t{2} << 20U;
  if (!flat.device().is_cpu()) return;
  auto* const data = static_cast<char*>(flat.data_ptr());
  const auto skipped = (kPage - reinterpret_cast<uintptr_t>(data) % kPage) % kPage;
  // Advice only: without huge pages the memory works as well.
  if (flat.nbytes() > skipped) madvise(data + skipped, flat.nbytes() - skipped, MADV_HUGEPAGE);
#else
  static_cast<void>(flat);
#endif
}

/// Room for a copy of every tensor, in one block for each device and dtype: a few large allocations
/// and kernels instead of one for each tensor.
inline std::vector<FlatCopies> flat_copies(const std::vector<torch::Tensor>& tensors) {
  std::map<std::pair<std::string, torch::ScalarType>, FlatCopies> groups;
  for (const auto& tensor : tensors) {
    groups[{tensor.device().str(), tensor.scalar_type()}].tensors.push_back(tensor);
  }
  std::vector<FlatCopies> result;
  for (auto& entry : groups) {
    auto& group = entry.second;
    std::vector<int64_t> sizes;
    int64_t total = 0;
    for (const auto& tensor : group.tensors) {
      sizes.push_back(tensor.numel());
      total += tensor.numel();
    }
    group.flat = torch::empty({total}, group.tensors.front().options());
    prefer_huge_pages(group.flat);
    group.copies = group.flat.split_with_sizes(sizes);
    for (size_t i = 0; i < group.copies.size(); ++i) {
      group.copies[i] = group.copies[i].view(group.tensors[i].sizes());
    }
    result.push_back(std::move(group));
  }
  return result;
}

}  // namespace evenkeel::detail
