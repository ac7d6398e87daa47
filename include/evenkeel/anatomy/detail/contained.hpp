// SPDX-License-Identifier: MIT
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <type_traits>

namespace evenkeel::detail {

/// The module type of a holder, or the type itself for a module.
template <typename T, bool = torch::detail::is_module_holder<T>::value>
struct Contained {
  using type = T;
};
template <typename T>
struct Contained<T, true> {
  using type = typename T::ContainedType;
};
template <typename T>
using contained_t = typename Contained<T>::type;

template <typename T>
contained_t<T>& contained(T& module) {
  if constexpr (torch::detail::is_module_holder<T>::value) {
    return *module;
  } else {
    static_assert(std::is_base_of_v<torch::nn::Module, T>,
                  "expected a torch::nn::Module or a module holder");
    return module;
  }
}

}  // namespace evenkeel::detail
