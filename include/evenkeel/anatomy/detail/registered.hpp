// SPDX-License-Identifier: MIT
#pragma once

#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// A module of a model, in order of registration.
struct RegisteredModule {
  std::string path;  ///< Empty for the model itself.
  torch::nn::Module* module;
  size_t parent;  ///< Index of the module that holds it; 0 for the model itself.
};

/// A parameter of a model; tied weights are one.
struct RegisteredParameter {
  std::string name;
  torch::Tensor tensor;
  size_t holder;  ///< Index of the module that has registered it.
  std::vector<std::string> tied_names;
};

/// The memory range of a tensor, from its first byte to one past its last. A tensor without its own
/// memory, such as an empty or a sparse one, is identified by its address.
inline std::pair<uintptr_t, uintptr_t> memory_of(const torch::Tensor& tensor) {
  const void* data = tensor.has_storage() && tensor.numel() > 0 ? tensor.const_data_ptr() : nullptr;
  if (data == nullptr) {
    const auto identity = reinterpret_cast<uintptr_t>(tensor.unsafeGetTensorImpl());
    return {identity, identity + 1};
  }
  int64_t last = 0;
  for (int64_t i = 0; i < tensor.dim(); ++i) last += (tensor.size(i) - 1) * tensor.stride(i);
  const auto begin = reinterpret_cast<uintptr_t>(data);
  return {begin, begin + (static_cast<uintptr_t>(last) + 1) * tensor.element_size()};
}

/// Returns whether `a` and `b` are the same weights in memory: one tensor, or two that agree in
/// everything, as after `a.set_data(b)`.
inline bool same_weights(const torch::Tensor& a, const torch::Tensor& b) {
  if (a.is_same(b)) return true;
  return memory_of(a) == memory_of(b) && a.scalar_type() == b.scalar_type() &&
         a.sizes() == b.sizes() && a.strides() == b.strides();
}

/// The modules and parameters that a model has registered, in order of registration. Throws if
/// parameters share memory without being the same weights.
class Registered {
 public:
  explicit Registered(torch::nn::Module& model) {
    add_module(model, "", 0);
    refuse_overlaps();
  }

  const std::vector<RegisteredModule>& modules() const { return modules_; }
  const std::vector<RegisteredParameter>& parameters() const { return parameters_; }

  /// Index of the parameter that has these weights.
  std::optional<size_t> find(const torch::Tensor& tensor) const {
    const auto [first, last] = by_memory_.equal_range(memory_of(tensor).first);
    for (auto it = first; it != last; ++it) {
      if (same_weights(parameters_[it->second].tensor, tensor)) return it->second;
    }
    return std::nullopt;
  }

  /// Every name of a module, as in "blocks.0, blocks.1"; empty for one that is not registered.
  std::string paths(const torch::nn::Module& module) const {
    std::string paths;
    for (const auto& registered : modules_) {
      if (registered.module != &module) continue;
      if (!paths.empty()) paths += ", ";
      paths += registered.path.empty() ? "the model" : registered.path;
    }
    return paths;
  }

 private:
  void add_module(torch::nn::Module& module, const std::string& path, size_t parent) {
    const auto at = modules_.size();
    modules_.push_back({path, &module, parent});
    const auto prefix = path.empty() ? path : path + ".";
    for (const auto& parameter : module.named_parameters(/*recurse=*/false)) {
      add_parameter(prefix + parameter.key(), parameter.value(), at);
    }
    for (const auto& child : module.named_children()) {
      add_module(*child.value(), prefix + child.key(), at);
    }
  }

  void add_parameter(std::string name, const torch::Tensor& tensor, size_t holder) {
    if (const auto same = find(tensor)) {
      parameters_[*same].tied_names.push_back(std::move(name));
      return;
    }
    by_memory_.emplace(memory_of(tensor).first, parameters_.size());
    parameters_.push_back({std::move(name), tensor, holder, {}});
  }

  void refuse_overlaps() const {
    const RegisteredParameter* before = nullptr;  // the one that ends last so far
    for (const auto& [begin, at] : by_memory_) {
      const auto& parameter = parameters_[at];
      TORCH_CHECK(before == nullptr || begin >= memory_of(before->tensor).second,
                  "anatomy: ",
                  before->name,
                  " of shape ",
                  before->tensor.sizes(),
                  " and ",
                  parameter.name,
                  " of shape ",
                  parameter.tensor.sizes(),
                  " share memory, but are not the same weights. Tied weights have the same shape, "
                  "strides and dtype, and are tied as a whole");
      if (before == nullptr ||
          memory_of(parameter.tensor).second > memory_of(before->tensor).second) {
        before = &parameter;
      }
    }
  }

  std::vector<RegisteredModule> modules_;
  std::vector<RegisteredParameter> parameters_;
  std::multimap<uintptr_t, size_t> by_memory_;  // first byte -> index in parameters_
};

}  // namespace evenkeel::detail
