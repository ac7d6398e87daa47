// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>
#include <evenkeel/anatomy/detail/known_types.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/pimpl.h>

#include <algorithm>
#include <numeric>
#include <tuple>
#include <unordered_set>

namespace evenkeel {

template <typename T>
std::vector<size_t> AnatomyBuilder::tell(const T& module,
                                         const detail::Parts& parts,
                                         Stack stack,
                                         int64_t sublayer) {
  if constexpr (std::is_convertible_v<const T&, torch::Tensor>) {
    return tell_tensor(module, parts, stack, sublayer);
  } else {
    static_assert(torch::detail::is_module_holder<T>::value,
                  "anatomy: pass a torch::Tensor or a module holder, such as torch::nn::Linear");
    using Module = typename T::ContainedType;
    auto& contained = const_cast<Module&>(*module);
    std::vector<size_t> entries;
    if constexpr (detail::HasWeight<Module>::value) {
      detail::check_member(registered_, contained, "weight", contained.weight);
      entries = tell_tensor(contained.weight, parts, stack, sublayer);
      if constexpr (detail::HasBias<Module>::value) {
        const auto role = parts.front().role;
        if (role == Role::kNorm || role == Role::kUnscaled || role == Role::kBias) {
          const auto bias = tell_tensor(contained.bias, parts, stack, sublayer);
          entries.insert(entries.end(), bias.begin(), bias.end());
        } else {
          tell_bias(contained.bias, entries);
        }
      }
    } else {
      for (const auto& parameter : contained.parameters()) {
        const auto more = tell_tensor(parameter, parts, stack, sublayer);
        entries.insert(entries.end(), more.begin(), more.end());
      }
    }
    return entries;
  }
}

inline std::vector<size_t> AnatomyBuilder::tell_tensor(const torch::Tensor& tensor,
                                                       const detail::Parts& parts,
                                                       Stack stack,
                                                       int64_t sublayer) {
  if (!tensor.defined()) return {};  // a module without bias
  const auto at = registered_.find(tensor);
  TORCH_CHECK(at,
              "anatomy: a tensor of shape ",
              tensor.sizes(),
              " was given the role ",
              to_string(parts.front().role),
              ", but is not a parameter of ",
              detail::holder_type(model_),
              ": register it, or its module, with the model");
  if (!told_[*at].empty()) {
    tell_again(told_[*at], parts.front().role, stack, sublayer);
    return told_[*at];
  }
  const auto& parameter = registered_.parameters()[*at];
  int64_t begin = 0;
  for (const auto& part : parts) {
    const auto rows = parts.size() == 1 && tensor.dim() > 0 ? tensor.size(0) : part.rows;
    ParameterRole entry;
    entry.name = parameter.name;
    entry.tensor = parameter.tensor;
    entry.role = part.role;
    entry.stack = stack;
    entry.sublayer = sublayer;
    entry.row_begin = begin;
    entry.row_end = begin += rows;
    entry.tied_names = parameter.tied_names;
    told_[*at].push_back(anatomy_.parameters.size());
    parameter_of_.push_back(*at);
    anatomy_.parameters.push_back(std::move(entry));
  }
  return told_[*at];
}

inline std::string AnatomyBuilder::name_of(const torch::Tensor& tensor) const {
  const auto at = tensor.defined() ? registered_.find(tensor) : std::nullopt;
  return at ? registered_.parameters()[*at].name : "that is not a parameter";
}

/// Handles a parameter that already has a role: allowed for an embedding that is also the head, and
/// for a gain of several sub-layers.
inline void AnatomyBuilder::tell_again(const std::vector<size_t>& told,
                                       Role role,
                                       Stack stack,
                                       int64_t sublayer) {
  auto& first = anatomy_.parameters[told.front()];
  const auto may_be_tied = [](Role r) { return r == Role::kEmbedding || r == Role::kHead; };
  if (may_be_tied(first.role) && may_be_tied(role)) {
    if (first.role == Role::kHead) {
      first.role = role;
      first.stack = stack;
    }
    return;
  }
  if (first.role == role && first.sublayer < 0 && sublayer < 0) return;  // a head's bias
  if (first.role == role && role == Role::kGain) return;  // shared by the sub-layers of a layer
  std::string names = first.name;
  for (const auto& name : first.tied_names) names += ", tied to " + name + ",";
  const auto where = [](Stack of, int64_t index) {
    return (index < 0 ? "" : "sub-layer " + std::to_string(index) + " of ") + "the " +
           to_string(of);
  };
  TORCH_CHECK(
      first.role != role || (first.stack == stack && first.sublayer == sublayer),
      "anatomy: ",
      names,
      " is shared: it is the ",
      to_string(role),
      " of ",
      where(first.stack, first.sublayer),
      " and of ",
      where(stack, sublayer),
      ". Initial weights depend on the position of a layer: give each layer its own weights");
  TORCH_CHECK(false,
              "anatomy: ",
              names,
              " was given two roles, ",
              to_string(first.role),
              " and ",
              to_string(role),
              ". Only embeddings and heads may be tied to one another");
}

inline void AnatomyBuilder::tell_bias(const torch::Tensor& tensor,
                                      const std::vector<size_t>& matrices) {
  if (!tensor.defined() || matrices.empty()) return;
  detail::Parts parts;
  for (const auto at : matrices) {
    const auto& matrix = anatomy_.parameters[at];
    parts.push_back({Role::kBias, matrix.row_end - matrix.row_begin});
  }
  const auto& first = anatomy_.parameters[matrices.front()];
  const auto biases = tell_tensor(tensor, parts, first.stack, first.sublayer);
  for (size_t i = 0; i < biases.size(); ++i) {
    anatomy_.parameters[biases[i]].matrix = static_cast<int64_t>(matrices[i]);
    anatomy_.parameters[matrices[i]].bias = static_cast<int64_t>(biases[i]);
  }
}

/// Adds embeddings, norms and gains that were not described, in the stack of the enclosing block.
inline void AnatomyBuilder::tell_by_type(torch::nn::Module& module, Stack stack) {
  const auto found = stacks_.find(&module);
  if (found != stacks_.end()) stack = found->second;
  const auto tell_unless_told = [&](const torch::Tensor& tensor, std::optional<Role> role) {
    const auto at = registered_.find(tensor).value();
    if (!role || !told_[at].empty()) return;
    const bool position =
        role == Role::kEmbedding && detail::names_positions(registered_.parameters()[at].name);
    const auto entries =
        tell_tensor(tensor, {{position ? Role::kPosition : *role}}, stack, /*sublayer=*/-1);
    anatomy_.parameters[entries.front()].by_name = position;
  };
  for (const auto& parameter : module.named_parameters(/*recurse=*/false)) {
    tell_unless_told(parameter.value(), detail::role_by_type(module, parameter.key()));
  }
  if (const auto* holder = dynamic_cast<const detail::HasNorms*>(&module)) {
    for (const auto& norm : holder->norm_modules()) {
      for (const auto& parameter : norm->parameters()) tell_unless_told(parameter, Role::kNorm);
    }
  }
  for (const auto& child : module.children()) tell_by_type(*child, stack);
}

/// The norms of the model in order of registration: modules that are norms by their class, by the
/// module that holds them, or by description; then other parameters whose role is norm.
inline std::vector<std::string> AnatomyBuilder::norm_names() const {
  std::unordered_set<const torch::nn::Module*> norms;
  for (const auto& sublayer : anatomy_.sublayers) {
    for (const auto& norm : sublayer.norms) norms.insert(norm.module.get());
  }
  for (const auto& registered : registered_.modules()) {
    if (detail::is_norm(*registered.module)) norms.insert(registered.module);
    if (const auto* holder = dynamic_cast<const detail::HasNorms*>(registered.module)) {
      for (const auto& norm : holder->norm_modules()) norms.insert(norm.get());
    }
  }
  std::vector<std::string> names;
  for (const auto& registered : registered_.modules()) {
    if (norms.count(registered.module) != 0) names.push_back(detail::path_of(registered));
  }
  for (size_t i = 0; i < told_.size(); ++i) {
    const auto& parameter = registered_.parameters()[i];
    const bool is_norm = anatomy_.parameters[told_[i].front()].role == Role::kNorm;
    if (is_norm && norms.count(registered_.modules()[parameter.holder].module) == 0) {
      names.push_back(parameter.name);
    }
  }
  return names;
}

/// Sorts the entries in order of registration, and updates all indices of them.
inline void AnatomyBuilder::sort() {
  auto& parameters = anatomy_.parameters;
  std::vector<size_t> order(parameters.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::tuple(parameter_of_[a], parameters[a].row_begin) <
           std::tuple(parameter_of_[b], parameters[b].row_begin);
  });
  std::vector<size_t> now_at(order.size());
  std::vector<ParameterRole> sorted;
  for (const auto at : order) {
    now_at[at] = sorted.size();
    sorted.push_back(std::move(parameters[at]));
  }
  for (auto& entry : sorted) {
    for (auto* at : {&entry.matrix, &entry.bias}) {
      if (*at >= 0) *at = static_cast<int64_t>(now_at[static_cast<size_t>(*at)]);
    }
  }
  for (auto& sublayer : anatomy_.sublayers) {
    std::vector<std::vector<size_t>*> lists{&sublayer.reads,
                                            &sublayer.reads_encoder,
                                            &sublayer.writes};
    for (auto& norm : sublayer.norms) lists.push_back(&norm.parameters);
    for (auto* list : lists) {
      for (auto& at : *list) at = now_at[at];
    }
  }
  parameters = std::move(sorted);
}

}  // namespace evenkeel
