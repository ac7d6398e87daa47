// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/attention_mask.hpp>
#include <evenkeel/nn/detail/torch_layer.hpp>
#include <evenkeel/residual/any_norm.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace evenkeel::nn::detail {

/// The masks that torch::nn passes to a stack, as one: `attn_mask` of T queries and S keys, and
/// `key_padding_mask` (B, S). Either may be undefined. Errors name them `name` and `padding_name`.
inline AttentionMask torch_mask(const char* name,
                                const torch::Tensor& attn_mask,
                                const char* padding_name,
                                const torch::Tensor& key_padding_mask,
                                const torch::Tensor& queries,
                                int64_t keys) {
  const auto check = [&](const char* of, const torch::Tensor& mask, int64_t rows, bool additive) {
    const auto dtype = mask.scalar_type();
    const bool fits =
        dtype == torch::kBool || dtype == torch::kByte || (additive && mask.is_floating_point());
    TORCH_CHECK(fits && mask.sizes() == torch::IntArrayRef({rows, keys}) &&
                    mask.device() == queries.device(),
                "torch::nn::Transformer: expected ",
                of,
                additive ? " to be bool, byte or floating point" : " to be bool or byte",
                " of shape [",
                rows,
                ", ",
                keys,
                "] on ",
                queries.device(),
                ", but got ",
                dtype,
                " of shape ",
                mask.sizes(),
                " on ",
                mask.device());
    return dtype == torch::kByte ? mask.to(torch::kBool) : mask;
  };
  AttentionMask mask;
  if (attn_mask.defined()) {
    mask = AttentionMask::from_tensor(check(name, attn_mask, queries.size(1), true));
  }
  if (key_padding_mask.defined()) {
    const auto padding = check(padding_name, key_padding_mask, queries.size(0), false);
    mask = mask & AttentionMask::padding(padding);
  }
  return mask;
}

/// Base class of `TorchEncoder` and `TorchDecoder`: a stack under torch::nn's names, with
/// sequence-first inputs and outputs.
template <typename Derived, typename StackHolder>
class TorchStack : public torch::nn::Cloneable<Derived> {
 public:
  /// Called by clone() on a member-wise copy, which still shares its stack with the original.
  void reset() override {
    stack = evenkeel::detail::clone_of(stack);
    if (!norm.is_empty()) norm = evenkeel::detail::clone_of(norm);
    register_all();
  }

  /// Cloneable moves only modules that it clones itself to `device`, but `reset` clones the stack.
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<torch::Device>& device = std::nullopt) const override {
    auto copy = torch::nn::Cloneable<Derived>::clone(device);
    if (device) copy->to(*device);
    return copy;
  }

  /// Re-initialises everything by the scheme.
  void reset_parameters() {
    stack->reset_parameters();
    if (!norm.is_empty()) norm->reset_parameters();
  }

  StackHolder stack;  ///< What computes; batch first, and with names of its own.
  /// torch::nn::Transformer's norm after the last layer, which a Post-LN stack does not need; empty
  /// if the stack ends otherwise.
  torch::nn::LayerNorm norm{nullptr};

 protected:
  explicit TorchStack(StackHolder stack_) : stack(std::move(stack_)) {
    if (stack->end->is_identity() && stack->layers.back()->sublayers.back().residual->norms().sum) {
      norm = torch::nn::LayerNorm(torch::nn::LayerNormOptions({stack->options.embed_dim()}));
    }
    register_all();
  }

  /// x of shape (T, B, embed_dim) as (B, T, embed_dim).
  torch::Tensor batch_first(const char* name, const torch::Tensor& x) const {
    TORCH_CHECK(x.dim() == 3 && x.size(2) == stack->options.embed_dim(),
                "torch::nn::Transformer: expected ",
                name,
                " of shape [length, batch, ",
                stack->options.embed_dim(),
                "], but got ",
                x.sizes());
    return x.transpose(0, 1).contiguous();
  }

  /// The output of the stack, normalised if there is a norm, as (T, B, embed_dim).
  torch::Tensor sequence_first(const torch::Tensor& y) {
    return (norm.is_empty() ? y : norm(y)).transpose(0, 1).contiguous();
  }

 private:
  void register_all() {
    const auto layers = std::make_shared<torch::nn::Module>("layers");
    layers->train(this->is_training());
    for (size_t i = 0; i < stack->layers.size(); ++i) {
      layers->register_module(std::to_string(i), std::make_shared<TorchLayer>(stack->layers[i]));
    }
    this->register_module("layers", layers);
    for (const auto& each : stack->end->named_children()) {
      this->register_module(each.key(), each.value());
    }
    if (!norm.is_empty()) this->register_module("norm", norm);
  }
};

}  // namespace evenkeel::nn::detail
