// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>

#include <torch/nn/module.h>
#include <torch/nn/modules/embedding.h>
#include <torch/types.h>

#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

/// Modules whose parameters' roles follow from the type.
namespace evenkeel::detail {

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
  return ends_with(type, "NormImpl") || ends_with(type, "Norm") || ends_with(type, "Norm1dImpl") ||
         ends_with(type, "DyTImpl");
}

/// The role of a module's own parameter, if it follows from the type or the name.
inline std::optional<Role> role_by_type(const torch::nn::Module& module, std::string_view name) {
  if (dynamic_cast<const torch::nn::EmbeddingImpl*>(&module) != nullptr) return Role::kEmbedding;
  if (is_norm(module)) return Role::kNorm;
  if (name == "omega" || name == "branch_gain") return Role::kGain;
  return std::nullopt;
}

}  // namespace evenkeel::detail
