// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>

#include <torch/nn/modules/embedding.h>

#include <memory>
#include <string_view>

namespace evenkeel {

namespace detail {

template <typename Module, typename = void>
struct HasWeight : std::false_type {};
template <typename Module>
struct HasWeight<Module, std::void_t<decltype(torch::Tensor(std::declval<Module&>().weight))>>
    : std::true_type {};

template <typename Module, typename = void>
struct HasBias : std::false_type {};
template <typename Module>
struct HasBias<Module, std::void_t<decltype(torch::Tensor(std::declval<Module&>().bias))>>
    : std::true_type {};

template <typename Blocks, typename = void>
struct IsRange : std::false_type {};
template <typename Blocks>
struct IsRange<Blocks, std::void_t<decltype(std::declval<Blocks&>().begin()->ptr())>>
    : std::true_type {};

inline bool is_norm(const torch::nn::Module& module) {
  const auto ends_with = [](std::string_view text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
  };
  const auto& type = module.name();
  return ends_with(type, "NormImpl") || ends_with(type, "Norm") || ends_with(type, "Norm1dImpl");
}

inline bool is_gain(std::string_view name) {
  return name == "omega" || name == "branch_gain";
}

}  // namespace detail

template <typename T>
SublayerBuilder& SublayerBuilder::add(const T& projection, Role role, bool packed) {
  anatomy_.add(projection, role, stack_, index_, packed);
  return *this;
}

inline AnatomyBuilder::AnatomyBuilder(torch::nn::Module& model,
                                      Stack stack,
                                      std::vector<detail::Describer> describers)
    : model_(model), stack_(stack), describers_(std::move(describers)) {
  for (const auto& parameter : model.named_parameters()) {
    const void* identity = parameter.value().unsafeGetTensorImpl();
    if (names_.emplace(identity, parameter.key()).second) order_.push_back(parameter.key());
  }
}

inline SublayerBuilder AnatomyBuilder::sublayer(const std::string& name) {
  if (!in_layer_) {
    ++layers(stack_);
    in_layer_ = true;
  }
  const auto index = anatomy_.num_res_layers(stack_);
  anatomy_.sublayers.push_back({name, stack_, index});
  return {*this, stack_, index};
}

template <typename Describe>
void AnatomyBuilder::in_block(Describe&& describe) {
  const bool outer = in_layer_;
  describe();
  in_layer_ = outer;
}

template <typename Block>
void AnatomyBuilder::walk_block(Block& block) {
  if constexpr (detail::IsDescribed<Block>::value) {
    in_block([&] { AnatomyOf<Block>::describe(detail::contained(block), *this); });
  } else if constexpr (std::is_base_of_v<torch::nn::Module, Block> ||
                       torch::detail::is_module_holder<Block>::value) {
    walk(detail::contained(block));
  } else {
    walk(*block);  // a shared_ptr, as a ModuleList holds them
  }
}

template <typename Blocks>
AnatomyBuilder& AnatomyBuilder::stack(Blocks& blocks, Stack stack) {
  const auto outer = std::exchange(stack_, stack);
  if constexpr (detail::IsRange<Blocks>::value) {
    for (auto& block : blocks) walk_block(block);
  } else {
    walk_block(blocks);
  }
  stack_ = outer;
  return *this;
}

inline AnatomyBuilder& AnatomyBuilder::walk(torch::nn::Module& module) {
  for (const auto describe : describers_) {
    bool described = false;
    in_block([&] { described = describe(module, *this); });
    if (described) return *this;
  }
  for (const auto& child : module.children()) walk(*child);
  return *this;
}

template <typename T>
AnatomyBuilder& AnatomyBuilder::add(
    const T& module, Role role, Stack stack, int64_t sublayer, bool packed) {
  if constexpr (std::is_convertible_v<const T&, torch::Tensor>) {
    add_tensor(module, role, stack, sublayer, packed);
  } else {
    static_assert(torch::detail::is_module_holder<T>::value,
                  "anatomy: tell a role for a torch::Tensor or a module holder, such as "
                  "torch::nn::Linear");
    using Module = typename T::ContainedType;
    auto& contained = const_cast<Module&>(*module);
    if constexpr (detail::HasWeight<Module>::value) {
      add_tensor(contained.weight, role, stack, sublayer, packed);
      if constexpr (detail::HasBias<Module>::value) {
        add_tensor(contained.bias,
                   role == Role::kNorm ? role : Role::kBias,
                   stack,
                   sublayer,
                   false);
      }
    } else {
      for (const auto& parameter : contained.parameters()) {
        add_tensor(parameter, role, stack, sublayer, packed);
      }
    }
  }
  return *this;
}

inline void AnatomyBuilder::add_tensor(
    const torch::Tensor& tensor, Role role, Stack stack, int64_t sublayer, bool packed) {
  if (!tensor.defined()) return;  // a module without bias
  const auto name = names_.find(tensor.unsafeGetTensorImpl());
  TORCH_CHECK(name != names_.end(),
              "anatomy: a tensor of shape ",
              tensor.sizes(),
              " was told the role ",
              to_string(role),
              ", but is no parameter of ",
              model_.name());
  auto& roles = roles_[tensor.unsafeGetTensorImpl()];
  if (!roles.empty()) {
    const bool tied =
        roles.front().role == Role::kEmbedding && (role == Role::kEmbedding || role == Role::kHead);
    TORCH_CHECK(tied,
                "anatomy: ",
                name->second,
                " was told two roles, ",
                to_string(roles.front().role),
                " and ",
                to_string(role));
    return;  // told first as the embedding that it is
  }
  const auto rows = tensor.dim() > 0 ? tensor.size(0) : 0;
  if (!packed) {
    roles.push_back({name->second, tensor, role, stack, sublayer, 0, rows});
    return;
  }
  TORCH_CHECK(tensor.dim() > 0 && rows % 3 == 0,
              "anatomy: expected the packed projection ",
              name->second,
              " of shape [3 * embed_dim, embed_dim], but got ",
              tensor.sizes());
  int64_t begin = 0;
  for (const auto third : {Role::kQuery, Role::kKey, Role::kValue}) {
    roles.push_back({name->second, tensor, third, stack, sublayer, begin, begin + rows / 3});
    begin += rows / 3;
  }
}

inline void AnatomyBuilder::add_by_type() {
  const auto add_own = [&](torch::nn::Module& module) {
    const bool embedding = dynamic_cast<torch::nn::EmbeddingImpl*>(&module) != nullptr;
    const bool norm = detail::is_norm(module);
    for (const auto& parameter : module.named_parameters(/*recurse=*/false)) {
      if (roles_.count(parameter.value().unsafeGetTensorImpl()) != 0) continue;
      if (embedding) {
        add_tensor(parameter.value(), Role::kEmbedding, stack_, -1, false);
      } else if (norm) {
        add_tensor(parameter.value(), Role::kNorm, stack_, -1, false);
      } else if (detail::is_gain(parameter.key())) {
        add_tensor(parameter.value(), Role::kGain, stack_, -1, false);
      }
    }
  };
  add_own(model_);
  for (const auto& module : model_.modules(/*include_self=*/false)) add_own(*module);
}

inline std::string AnatomyBuilder::unassigned() const {
  std::string names;
  for (const auto& parameter : model_.named_parameters()) {
    if (roles_.count(parameter.value().unsafeGetTensorImpl()) != 0) continue;
    if (!names.empty()) names += ", ";
    names += parameter.key();
  }
  return names;
}

inline Anatomy AnatomyBuilder::finish() {
  add_by_type();
  const auto without = unassigned();
  TORCH_CHECK(without.empty(),
              "anatomy: expected a role for every parameter of ",
              model_.name(),
              ", but these have none: ",
              without,
              ". Specialise evenkeel::AnatomyOf for the block that holds them");
  std::unordered_map<std::string, std::vector<ParameterRole>*> by_name;
  for (auto& [identity, roles] : roles_) by_name[roles.front().name] = &roles;
  for (const auto& name : order_) {
    const auto& roles = *by_name.at(name);
    anatomy_.parameters.insert(anatomy_.parameters.end(), roles.begin(), roles.end());
  }
  return anatomy_;
}

}  // namespace evenkeel
