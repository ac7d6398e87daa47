// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/position.hpp>

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <utility>

namespace evenkeel {

/// One residual sub-layer of a forward pass, as it was computed.
/// Shapes: input, branch and output are (*, embed_dim). The tensors are those of the model, with
/// their autograd graph: detach what is kept.
struct SublayerEvent {
  const torch::nn::Module& residual;  ///< The module that joined shortcut and branch.
  const Position& position;           ///< Which sub-layer of how many.
  int64_t order;                ///< How many sub-layers this observer has seen before, from 0.
  const torch::Tensor& input;   ///< x, what the shortcut carries.
  const torch::Tensor& branch;  ///< f(x), before dropout and the branch's gain.
  const torch::Tensor& output;  ///< y, what the next sub-layer's shortcut carries.
};

/// The weights of one attention of a forward pass.
struct AttentionEvent {
  const torch::nn::Module& attention;  ///< The attention module.
  const torch::Tensor& weights;  ///< softmax(QK^T / sqrt(d)), (B, num_heads, T, S), before dropout.
};

/// Watches every residual sub-layer that runs in this thread, for as long as it lives: those of
/// evenkeel's models, and those of any block that joins by `Residual` or `AdminResidual`.
///
///     evenkeel::Observer watch([](const evenkeel::SublayerEvent& event) {
///       fmt::print("{} {}\n", event.position.index, event.output.square().mean().item<double>());
///     });
///     model->forward(src, tgt);
///
/// Attention weights are computed for an observer that asks for them, by operators beside the fused
/// attention; without one they never exist. Observers may be nested; each sees every event. An
/// exception that a callback throws leaves the model's forward pass.
class Observer {
 public:
  using OnSublayer = std::function<void(const SublayerEvent&)>;
  using OnAttention = std::function<void(const AttentionEvent&)>;

  explicit Observer(OnSublayer on_sublayer, OnAttention on_attention = nullptr)
      : on_sublayer_(std::move(on_sublayer)),
        on_attention_(std::move(on_attention)),
        outer_(innermost()) {
    innermost() = this;
  }
  /// Observers end in the reverse order of their beginning, as local variables do.
  ~Observer() { innermost() = outer_; }
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  /// Returns whether any observer watches sub-layers in this thread.
  static bool any() { return innermost() != nullptr; }

  /// Returns whether any observer in this thread asks for attention weights.
  static bool any_attention() {
    for (const auto* observer = innermost(); observer != nullptr; observer = observer->outer_) {
      if (observer->on_attention_) return true;
    }
    return false;
  }

  /// Tells every observer of this thread; for a residual of one's own.
  static void tell(const torch::nn::Module& residual,
                   const Position& position,
                   const torch::Tensor& input,
                   const torch::Tensor& branch,
                   const torch::Tensor& output) {
    for (auto* observer = innermost(); observer != nullptr; observer = observer->outer_) {
      if (!observer->on_sublayer_) continue;
      observer->on_sublayer_({residual, position, observer->seen_++, input, branch, output});
    }
  }

  /// Tells every observer of this thread that asks for attention weights.
  static void tell_attention(const torch::nn::Module& attention, const torch::Tensor& weights) {
    for (auto* observer = innermost(); observer != nullptr; observer = observer->outer_) {
      if (observer->on_attention_) observer->on_attention_({attention, weights});
    }
  }

 private:
  static Observer*& innermost() {
    thread_local Observer* observer = nullptr;
    return observer;
  }

  OnSublayer on_sublayer_;
  OnAttention on_attention_;
  Observer* outer_;
  int64_t seen_ = 0;
};

}  // namespace evenkeel
