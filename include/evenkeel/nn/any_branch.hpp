// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>
#include <evenkeel/core/enums.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/attention_mask.hpp>
#include <evenkeel/nn/key_value_cache.hpp>
#include <evenkeel/residual/any_norm.hpp>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <memory>
#include <type_traits>

namespace evenkeel::nn {

/// The inputs of a branch in addition to the residual stream.
struct BranchInputs {
  AttentionMask mask;         ///< Mask of self-attention.
  torch::Tensor memory;       ///< The encoder's output (B, S, embed_dim), for cross-attention.
  AttentionMask memory_mask;  ///< Mask of cross-attention.
};

namespace detail {

template <typename Holder, typename = void>
struct DescribesRoles : std::false_type {};
template <typename Holder>
struct DescribesRoles<
    Holder,
    std::void_t<decltype(AnatomyOf<Holder>::describe(
        std::declval<typename Holder::ContainedType&>(), std::declval<SublayerBuilder&>()))>>
    : std::true_type {};

}  // namespace detail

/// The type-erased branch of a sub-layer: an `Attention`, such as `MultiHeadAttention`, or any
/// module holder whose `forward` maps a tensor (*, embed_dim) to one of the same shape. Copies
/// share the module. To describe the roles of a user-defined branch, specialise `AnatomyOf` for it
/// with `static void describe(MyBlockImpl&, evenkeel::SublayerBuilder&)`.
class AnyBranch {
 public:
  /// `kind` selects self-attention or cross-attention for an `Attention`.
  template <typename Holder>
  AnyBranch(const Holder& branch, SublayerKind kind)
      : module_(branch.ptr()),
        calls_(kind == SublayerKind::kCrossAttention
                   ? &kCalls<Holder, typename Holder::ContainedType, true>
                   : &kCalls<Holder, typename Holder::ContainedType, false>) {}

  const std::shared_ptr<torch::nn::Module>& ptr() const { return module_; }

  /// The module as a `Holder`, or an empty holder if it is of another type.
  template <typename Holder>
  Holder as() const {
    return Holder(std::dynamic_pointer_cast<typename Holder::ContainedType>(module_));
  }

  /// f(h). Only an attention uses `cache`, if it is given.
  torch::Tensor forward(const torch::Tensor& h,
                        const BranchInputs& inputs,
                        KeyValueCache* cache = nullptr) const {
    return calls_->forward(*module_, h, inputs, cache);
  }

  /// Describes the roles of the branch's parameters.
  void describe(SublayerBuilder& sublayer) const { calls_->describe(*module_, sublayer); }

  /// Re-initialises the module, if it has `reset_parameters()`.
  void reset_parameters() const { calls_->reset_parameters(*module_); }

  /// A branch of the same type with a cloned module.
  AnyBranch clone() const {
    auto copy = *this;
    copy.module_ = module_->clone();
    return copy;
  }

 private:
  struct Calls {
    torch::Tensor (*forward)(torch::nn::Module&,
                             const torch::Tensor&,
                             const BranchInputs&,
                             KeyValueCache*);
    void (*describe)(torch::nn::Module&, SublayerBuilder&);
    void (*reset_parameters)(torch::nn::Module&);
  };

  template <typename Holder, typename Impl, bool kCross>
  static constexpr Calls kCalls{
      [](torch::nn::Module& module,
         const torch::Tensor& h,
         [[maybe_unused]] const BranchInputs& inputs,
         [[maybe_unused]] KeyValueCache* cache) -> torch::Tensor {
        auto& branch = static_cast<Impl&>(module);
        if constexpr (std::is_base_of_v<Attention, Impl>) {
          return kCross ? branch.cross_attention(h, inputs.memory, inputs.memory_mask, cache)
                        : branch.forward(h, inputs.mask, cache);
        } else {
          return branch.forward(h);
        }
      },
      []([[maybe_unused]] torch::nn::Module& module, [[maybe_unused]] SublayerBuilder& sublayer) {
        if constexpr (detail::DescribesRoles<Holder>::value) {
          AnatomyOf<Holder>::describe(static_cast<Impl&>(module), sublayer);
        }
      },
      [](torch::nn::Module& module) {
        evenkeel::detail::reset_parameters_of(static_cast<Impl&>(module));
      }};

  std::shared_ptr<torch::nn::Module> module_;
  const Calls* calls_;
};

}  // namespace evenkeel::nn
