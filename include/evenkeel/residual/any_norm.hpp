// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/residual_terms.hpp>
#include <evenkeel/residual/fused_norm.hpp>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace evenkeel {

namespace detail {

template <typename Holder, typename = void>
struct IsFusedNorm : std::false_type {};
template <typename Holder>
struct IsFusedNorm<Holder,
                   std::void_t<decltype(FusedNorm<Holder>::of(
                       *std::declval<const typename Holder::ContainedType*>()))>> : std::true_type {
};

template <typename Module, typename = void>
struct HasResetParameters : std::false_type {};
template <typename Module>
struct HasResetParameters<Module, std::void_t<decltype(std::declval<Module&>().reset_parameters())>>
    : std::true_type {};

/// Calls the module's `reset_parameters()` if it has one.
template <typename Module>
void reset_parameters_of(Module& module) {
  if constexpr (HasResetParameters<Module>::value) module.reset_parameters();
}

/// A holder of the module's clone.
template <typename Holder>
Holder clone_of(const Holder& module) {
  return Holder(std::dynamic_pointer_cast<typename Holder::ContainedType>(module->clone()));
}

}  // namespace detail

/// A type-erased norm, as residuals hold it: LayerNorm, RMSNorm, or a user-defined module holder
/// whose `forward` maps a tensor (*, embed_dim) to one of the same shape. Copies share the module.
/// An empty `AnyNorm` means that there is no norm.
class AnyNorm {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): as torch::nn's holders
  AnyNorm(std::nullptr_t = nullptr) {}

  template <typename Holder,
            typename = std::enable_if_t<torch::detail::is_module_holder<Holder>::value>>
  // NOLINTNEXTLINE(google-explicit-constructor): every norm is any norm
  AnyNorm(const Holder& norm) {
    if (norm.is_empty()) return;
    module_ = norm.ptr();
    calls_ = &kCallsOf<typename Holder::ContainedType, Holder>;
  }

  bool is_empty() const { return module_ == nullptr; }
  const std::shared_ptr<torch::nn::Module>& ptr() const { return module_; }
  torch::nn::Module& operator*() const { return *module_; }
  torch::nn::Module* operator->() const { return module_.get(); }

  /// The module as a `Holder`, or an empty holder if it is of another type.
  template <typename Holder>
  Holder as() const {
    return Holder(std::dynamic_pointer_cast<typename Holder::ContainedType>(module_));
  }

  torch::Tensor forward(const torch::Tensor& x) const { return calls_->forward(*module_, x); }
  torch::Tensor operator()(const torch::Tensor& x) const { return forward(x); }

  /// The norm in the form that the fused residual takes, or nullopt if it cannot be fused.
  std::optional<ResidualNorm> fused() const { return calls_->fused(*module_); }

  /// Re-initialises the module, if it has `reset_parameters()`.
  void reset_parameters() const { calls_->reset_parameters(*module_); }

  /// A norm of the same type with a cloned module.
  AnyNorm clone() const {
    AnyNorm copy;
    if (is_empty()) return copy;
    copy.module_ = module_->clone();
    copy.calls_ = calls_;
    return copy;
  }

 private:
  struct Calls {
    torch::Tensor (*forward)(torch::nn::Module&, const torch::Tensor&);
    std::optional<ResidualNorm> (*fused)(const torch::nn::Module&);
    void (*reset_parameters)(torch::nn::Module&);
  };

  template <typename Impl, typename Holder>
  static constexpr Calls kCallsOf{
      [](torch::nn::Module& module, const torch::Tensor& x) -> torch::Tensor {
        return static_cast<Impl&>(module).forward(x);
      },
      []([[maybe_unused]] const torch::nn::Module& module) -> std::optional<ResidualNorm> {
        if constexpr (detail::IsFusedNorm<Holder>::value) {
          return FusedNorm<Holder>::of(static_cast<const Impl&>(module));
        } else {
          return std::nullopt;
        }
      },
      [](torch::nn::Module& module) { detail::reset_parameters_of(static_cast<Impl&>(module)); }};

  std::shared_ptr<torch::nn::Module> module_;
  const Calls* calls_ = nullptr;
};

}  // namespace evenkeel
