// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/MemoryOverlap.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/optim/optimizer.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::train::detail {

/// A parameter of an optimizer, with its place in the groups and in memory.
struct Parameter {
  Parameter(torch::Tensor tensor_, size_t group_, size_t index_)
      : tensor(std::move(tensor_)),
        group(group_),
        index(index_),
        begin(static_cast<const char*>(tensor.const_data_ptr())),
        end(begin + (tensor.is_non_overlapping_and_dense() ? tensor.nbytes() : tensor.itemsize())) {
  }

  /// E.g. "parameter 3 of group 0, of shape [2, 4]".
  std::string name() const {
    return c10::str("parameter ", index, " of group ", group, ", of shape ", tensor.sizes());
  }

  torch::Tensor tensor;
  size_t group;
  size_t index;
  const char* begin;
  const char* end;  ///< After the first element if there are gaps, where another parameter may be.
  std::vector<torch::Tensor> tied;  ///< Other tensors on the same memory; gradients are added.
};

/// Throws c10::Error, which names the parameter, unless it can be updated.
inline void check_parameter(const Parameter& parameter) {
  const auto& tensor = parameter.tensor;
  const auto dtype = tensor.scalar_type();
  TORCH_CHECK(dtype == torch::kFloat64 || dtype == torch::kFloat32 || dtype == torch::kBFloat16 ||
                  dtype == torch::kHalf,
              "FusedAdam: expected parameters of float64, float32, bfloat16 or half, but ",
              parameter.name(),
              ", is of ",
              dtype);
  TORCH_CHECK(parameter.begin != nullptr,
              "FusedAdam: expected parameters with memory, but ",
              parameter.name(),
              ", has none on ",
              tensor.device());
  TORCH_CHECK(at::has_internal_overlap(tensor) != at::MemOverlap::Yes,
              "FusedAdam: expected parameters whose elements do not share memory, but ",
              parameter.name(),
              ", is expanded, of strides ",
              tensor.strides(),
              "; clone() it");
}

/// Whether two tensors are the same elements in the same order.
inline bool same_elements(const torch::Tensor& a, const torch::Tensor& b) {
  return a.is_same(b) ||
         (a.const_data_ptr() == b.const_data_ptr() && a.scalar_type() == b.scalar_type() &&
          a.sizes() == b.sizes() && a.strides() == b.strides());
}

/// The distinct parameters of all groups, in order. A tensor that is listed again, or that shares
/// all of its memory with an earlier one (`a.set_data(b)`), is tied to that one. Parameters without
/// elements are skipped.
/// Throws c10::Error for tensors that share only a part of their memory or have another layout, and
/// for a parameter in two groups.
inline std::vector<Parameter> distinct_parameters(
    const std::vector<torch::optim::OptimizerParamGroup>& groups) {
  std::vector<Parameter> all;
  for (size_t group = 0; group < groups.size(); ++group) {
    const auto& params = groups[group].params();
    for (size_t index = 0; index < params.size(); ++index) {
      if (params[index].numel() == 0) continue;
      check_parameter(all.emplace_back(params[index], group, index));
    }
  }
  // Sorted by address, so that parameters that share memory are adjacent.
  std::vector<size_t> order(all.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return all[a].begin < all[b].begin;
  });
  std::vector<bool> repeated(all.size());
  for (size_t i = 1, before = 0; i < order.size(); ++i) {  // `before` ends last so far
    auto& first = all[order[before]];
    const auto& second = all[order[i]];
    const bool same = same_elements(first.tensor, second.tensor);
    if (!same && second.begin >= first.end) {
      before = i;
      continue;
    }
    TORCH_CHECK(same,
                "FusedAdam: ",
                second.name(),
                ", is tied to ",
                first.name(),
                ", by a part of its memory or in another layout; tie whole tensors of one layout");
    TORCH_CHECK(first.group == second.group,
                "FusedAdam: expected each parameter in one group, but ",
                second.name(),
                ", is also ",
                first.name());
    if (!first.tensor.is_same(second.tensor)) first.tied.push_back(second.tensor);
    repeated[order[i]] = true;
  }
  std::vector<Parameter> distinct;
  distinct.reserve(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    if (!repeated[i]) distinct.push_back(std::move(all[i]));
  }
  return distinct;
}

}  // namespace evenkeel::train::detail
