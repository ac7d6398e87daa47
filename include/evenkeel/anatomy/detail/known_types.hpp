// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/residual/detail/has_norms.hpp>
#include <evenkeel/residual/norm_module.hpp>

#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/instancenorm.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <cctype>
#include <optional>
#include <string>
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

template <typename... Types>
bool is_one_of(const torch::nn::Module& module) {
  return ((dynamic_cast<const Types*>(&module) != nullptr) || ...);
}

/// Whether a module is one of torch::nn's norms, or derives from `NormModule`.
inline bool is_norm(const torch::nn::Module& module) {
  return dynamic_cast<const NormModule*>(&module) != nullptr ||
         is_one_of<torch::nn::LayerNormImpl,
                   torch::nn::GroupNormImpl,
                   torch::nn::BatchNorm1dImpl,
                   torch::nn::BatchNorm2dImpl,
                   torch::nn::BatchNorm3dImpl,
                   torch::nn::InstanceNorm1dImpl,
                   torch::nn::InstanceNorm2dImpl,
                   torch::nn::InstanceNorm3dImpl>(module);
}

/// Whether one of the words of a registered name means positions, as in `pos_emb.weight`,
/// `embed_positions.weight` and `wpe.weight`.
inline bool names_positions(std::string_view name) {
  std::string word;
  const auto means_positions = [&] {
    return word == "pos" || word == "wpe" || word.rfind("position", 0) == 0 ||
           word.rfind("posemb", 0) == 0;
  };
  for (const char c : name) {
    if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else {
      if (means_positions()) return true;
      word.clear();
    }
  }
  return means_positions();
}

/// The role of a module's own parameter, if it follows from the type or the name.
inline std::optional<Role> role_by_type(const torch::nn::Module& module, std::string_view name) {
  if (dynamic_cast<const torch::nn::EmbeddingImpl*>(&module) != nullptr) return Role::kEmbedding;
  if (is_norm(module)) return Role::kNorm;
  if (name == "omega" || name == "branch_gain") return Role::kGain;
  return std::nullopt;
}

}  // namespace evenkeel::detail
