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
/// their autograd graph: detach them before keeping them.
struct SublayerEvent {
  const torch::nn::Module& residual;  ///< The module that added shortcut and branch.
  const Position& position;           ///< Position of the sub-layer in the model.
  int64_t order;                      ///< Number of sub-layers that this observer has seen before.
  const torch::Tensor& input;         ///< x, the input of the shortcut.
  const torch::Tensor& branch;        ///< f(x), before dropout and the branch's gain.
  const torch::Tensor& output;        ///< y, the input of the next sub-layer's shortcut.
};

/// One residual sub-layer whose branch has been computed, but not its output. Shapes as in
/// `SublayerEvent`.
struct BranchEvent {
  const torch::nn::Module& residual;  ///< The module that will add shortcut and branch.
  const Position& position;           ///< Position of the sub-layer in the model.
  const torch::Tensor& input;         ///< x, the input of the shortcut.
  const torch::Tensor& branch;        ///< f(x), before dropout and the branch's gain.
  double dropout;  ///< Probability with which the residual drops elements of f(x) in this pass.
};

/// The weights of one attention of a forward pass.
struct AttentionEvent {
  const torch::nn::Module& attention;  ///< The attention module.
  /// softmax(QK^T / sqrt(d)), (B, num_heads, T, S), before dropout; of shaped attention, the sum of
  /// its three terms.
  const torch::Tensor& weights;
};

/// Calls `on_sublayer` after every residual sub-layer that runs in this thread during the
/// observer's lifetime, in evenkeel's models and in any block that uses `Residual` or
/// `AdminResidual`.
///
///     evenkeel::Observer watch([](const evenkeel::SublayerEvent& event) {
///       fmt::print("{} {}\n", event.position.index, event.output.square().mean().item<double>());
///     });
///     model->forward(src, tgt);
///
/// If there is an `on_attention`, attention weights are computed in addition to the fused
/// attention; otherwise they are never computed. `on_branch` is called just before a residual adds
/// shortcut and branch, with its gains: it may write new values into their tensors, as
/// `profile_admin` does. Observers may be nested; each receives every
/// event. An exception thrown by a callback propagates out of the model's forward pass.
class Observer {
 public:
  using OnSublayer = std::function<void(const SublayerEvent&)>;
  using OnAttention = std::function<void(const AttentionEvent&)>;
  using OnBranch = std::function<void(const BranchEvent&)>;

  explicit Observer(OnSublayer on_sublayer,
                    OnAttention on_attention = nullptr,
                    OnBranch on_branch = nullptr)
      : on_sublayer_(std::move(on_sublayer)),
        on_attention_(std::move(on_attention)),
        on_branch_(std::move(on_branch)),
        outer_(innermost()) {
    innermost() = this;
  }
  /// Observers have to be destroyed in reverse order of construction, as local variables are.
  ~Observer() { innermost() = outer_; }
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  /// Returns whether there is any observer in this thread.
  static bool any() { return innermost() != nullptr; }

  /// Returns whether any observer in this thread receives attention weights.
  static bool any_attention() {
    for (const auto* observer = innermost(); observer != nullptr; observer = observer->outer_) {
      if (observer->on_attention_) return true;
    }
    return false;
  }

  /// Calls `on_sublayer` of every observer in this thread. A custom residual module calls this.
  static void notify(const torch::nn::Module& residual,
                     const Position& position,
                     const torch::Tensor& input,
                     const torch::Tensor& branch,
                     const torch::Tensor& output) {
    for (auto* observer = innermost(); observer != nullptr; observer = observer->outer_) {
      if (!observer->on_sublayer_) continue;
      observer->on_sublayer_({residual, position, observer->seen_++, input, branch, output});
    }
  }

  /// Calls `on_branch` of every observer in this thread that has one. A custom residual module
  /// calls this before it reads its gains.
  static void notify_branch(const BranchEvent& event) {
    for (auto* observer = innermost(); observer != nullptr; observer = observer->outer_) {
      if (observer->on_branch_) observer->on_branch_(event);
    }
  }

  /// Calls `on_attention` of every observer in this thread that has one.
  static void notify_attention(const torch::nn::Module& attention, const torch::Tensor& weights) {
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
  OnBranch on_branch_;
  Observer* outer_;
  int64_t seen_ = 0;
};

}  // namespace evenkeel
