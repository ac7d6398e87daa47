// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/detail/elements.hpp>
#include <evenkeel/diagnose/output_change_options.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// Memory that moves as one weight, and the parameters that view it: one, or several tied ones.
struct MovedWeight {
  torch::Tensor elements;
  std::vector<torch::Tensor> parameters;
  std::string name;  ///< Of the parameter that views all of it.
  size_t index = 0;  ///< Position of that parameter in the order of registration.
};

/// Returns whether the elements of `part` are among those of `whole`, so that they move with it.
/// Exact where `whole` is contiguous; otherwise only for a view of the same shape and strides.
inline bool contains(const torch::Tensor& whole, const torch::Tensor& part) {
  if (whole.device() != part.device() || whole.scalar_type() != part.scalar_type()) return false;
  const auto [begin, end] = addresses_of(whole);
  const auto [part_begin, part_end] = addresses_of(part);
  if (whole.is_contiguous()) return begin <= part_begin && part_end <= end;
  return begin == part_begin && whole.sizes() == part.sizes() && whole.strides() == part.strides();
}

/// Throws if two weights share an element, or two positions of one weight do. The check marks
/// bytes, so it is exact for any strides.
inline void check_no_overlap(const std::vector<MovedWeight>& weights) {
  auto begin = addresses_of(weights.front().elements).first;
  auto end = begin;
  int64_t bytes = 0;
  std::string names;
  for (const auto& weight : weights) {
    end = std::max(end, addresses_of(weight.elements).second);
    bytes += static_cast<int64_t>(weight.elements.nbytes());
    names += (names.empty() ? "" : ", ") + weight.name;
  }
  auto covered = torch::zeros({static_cast<int64_t>(end - begin)}, torch::kBool);
  for (const auto& weight : weights) {
    auto sizes = weight.elements.sizes().vec();
    auto strides = weight.elements.strides().vec();
    for (auto& stride : strides) stride *= weight.elements.element_size();
    sizes.push_back(weight.elements.element_size());
    strides.push_back(1);
    const auto offset = addresses_of(weight.elements).first - begin;
    covered.as_strided(sizes, strides, static_cast<int64_t>(offset)).fill_(true);
  }
  TORCH_CHECK(covered.sum().item<int64_t>() == bytes,
              "output_change: expected weights to be tied in full or not at all, but there is an "
              "overlap within ",
              names);
}

/// The given weights with each element once. A weight that lies within the memory of another is
/// tied to it and moves with it, whether the two are one TensorImpl or two. Throws for weights that
/// overlap in part.
inline std::vector<MovedWeight> without_ties(std::vector<MovedWeight> weights) {
  // By address; of those that begin together, the one that holds the others comes first.
  const auto place = [](const MovedWeight& weight) {
    const auto [begin, end] = addresses_of(weight.elements);
    return std::make_tuple(weight.elements.device().str(), begin, ~end, -weight.elements.numel());
  };
  std::stable_sort(weights.begin(), weights.end(), [&](const MovedWeight& a, const MovedWeight& b) {
    return place(a) < place(b);
  });
  std::vector<MovedWeight> result, neighbours;  // neighbours have overlapping address ranges
  uintptr_t end = 0;
  const auto close = [&] {
    if (neighbours.size() > 1 ||
        (neighbours.size() == 1 && !neighbours[0].elements.is_contiguous())) {
      check_no_overlap(neighbours);
    }
    std::move(neighbours.begin(), neighbours.end(), std::back_inserter(result));
    neighbours.clear();
  };
  for (auto& weight : weights) {
    const auto [first, last] = addresses_of(weight.elements);
    const bool apart = neighbours.empty() || first >= end ||
                       neighbours[0].elements.device() != weight.elements.device();
    if (apart) close();
    end = apart ? last : std::max(end, last);
    const auto whole =
        std::find_if(neighbours.begin(), neighbours.end(), [&](const MovedWeight& other) {
          return contains(other.elements, weight.elements);
        });
    if (whole == neighbours.end()) {
      neighbours.push_back(std::move(weight));
    } else {
      whole->parameters.push_back(weight.parameters.front());
    }
  }
  close();
  std::sort(result.begin(), result.end(), [](const MovedWeight& a, const MovedWeight& b) {
    return a.index < b.index;
  });
  return result;
}

/// The parameters of a model that the options' filter selects.
inline std::vector<MovedWeight> moved_weights(const torch::nn::Module& model,
                                              const OutputChangeOptions& options) {
  std::vector<MovedWeight> weights;
  std::unordered_set<const void*> seen;  // one tensor may have several names
  for (const auto& parameter : model.named_parameters()) {
    const auto& weight = parameter.value();
    const bool moves = options.filter()
                           ? options.filter()(parameter.key(), weight)
                           : weight.dim() >= 2 && !at::isIntegralType(weight.scalar_type(),
                                                                      /*includeBool=*/true);
    if (!moves || weight.numel() == 0) continue;
    TORCH_CHECK(weight.is_floating_point(),
                "output_change: expected ",
                parameter.key(),
                " of floating point to move it, but got ",
                weight.scalar_type(),
                "; a filter may leave it out");
    TORCH_CHECK(weight.layout() == torch::kStrided,
                "output_change: expected ",
                parameter.key(),
                " to be strided to move it, but got ",
                weight.layout());
    if (!seen.insert(weight.unsafeGetTensorImpl()).second) continue;
    weights.push_back({elements_of(weight), {weight}, parameter.key(), weights.size()});
  }
  TORCH_CHECK(!weights.empty(),
              "output_change: expected at least one parameter of ",
              model.name(),
              " to move, but the filter selects none");
  return without_ties(std::move(weights));
}

}  // namespace evenkeel::detail
