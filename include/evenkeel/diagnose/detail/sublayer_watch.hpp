// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>
#include <evenkeel/diagnose/activation_statistics.hpp>
#include <evenkeel/diagnose/detail/operator_watch.hpp>
#include <evenkeel/residual/observer.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstddef>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// One residual sub-layer of a forward pass; a tensor that was not seen is undefined.
/// Shapes: input, branch and output are (*, embed_dim), with their autograd graph.
struct WatchedSublayer {
  torch::Tensor input;       ///< x, the input of the shortcut.
  torch::Tensor branch;      ///< f(x), before the branch's gain.
  torch::Tensor output;      ///< y
  torch::Tensor entropy;     ///< Of the attention, (num_heads).
  torch::Tensor dead_units;  ///< Share of the ReLU's units that are 0 for every token, ().
  const torch::nn::Module* residual = nullptr;  ///< Null if the block adds by itself.
};

/// Sees every residual sub-layer of an anatomy in one forward pass: from the residuals themselves,
/// `Residual` and `AdminResidual`; in a model that has none, from the operators that take the
/// anatomy's matrices and norms.
class SublayerWatch {
 public:
  /// With `details`, attention and ReLU are looked at too, which costs time.
  SublayerWatch(const Anatomy& anatomy, bool details)
      : anatomy_(anatomy), details_(details), by_operators_(anatomy.sublayers.size()) {
    for (size_t row = 0; row < anatomy.sublayers.size(); ++row) {
      const auto& sublayer = anatomy.sublayers[row];
      const auto add = [&](const std::vector<size_t>& parameters, Use use) {
        for (const auto at : parameters) {
          const auto* tensor = anatomy.parameters[at].tensor.unsafeGetTensorImpl();
          uses_.emplace(tensor, Place{row, use});
        }
      };
      add(sublayer.reads, Use::kRead);
      add(sublayer.writes, Use::kWrite);
      for (const auto& norm : sublayer.norms) {
        if (norm.slot == NormSlot::kSum) add(norm.parameters, Use::kSumNorm);
        if (norm.slot == NormSlot::kInput) add(norm.parameters, Use::kInputNorm);
      }
    }
  }

  /// Runs `forward`, and returns what it returns.
  template <typename F>
  auto run(F&& forward) {
    const Observer observer([this](const SublayerEvent& event) { see(event); },
                            details_ ? Observer::OnAttention([this](const AttentionEvent& event) {
                              entropy_ = attention_entropy(event.weights);
                            })
                                     : nullptr);
    const OperatorWatch operators([this](const OperatorEvent& event) { see(event); });
    return std::forward<F>(forward)();
  }

  /// The sub-layers, one for each of the anatomy's. Throws unless each ran once.
  std::vector<WatchedSublayer> finish() {
    if (by_events_.empty()) {
      for (auto& [input, branch, output, entropy, dead, residual] : by_operators_) {
        const bool adds = !output.defined() && input.defined() && branch.defined();
        if (adds && input.sizes() == branch.sizes()) output = input + branch;
      }
      return std::move(by_operators_);
    }
    TORCH_CHECK(by_events_.size() == anatomy_.sublayers.size(),
                "diagnose: expected the loss to run each of the ",
                anatomy_.sublayers.size(),
                " residual sub-layers of the model once, but ",
                by_events_.size(),
                " ran");
    for (size_t i = 0; i < by_events_.size(); ++i) {
      by_events_[i].dead_units = by_operators_[i].dead_units;
    }
    return std::move(by_events_);
  }

 private:
  enum class Use { kRead, kWrite, kInputNorm, kSumNorm };
  struct Place {
    size_t row;
    Use use;
  };

  void see(const SublayerEvent& event) {
    const auto row = by_events_.size();
    if (row < anatomy_.sublayers.size() &&
        anatomy_.sublayers[row].kind == SublayerKind::kFeedForward) {
      entropy_ = torch::Tensor();
    }
    by_events_.push_back({event.input,
                          event.branch,
                          event.output,
                          std::exchange(entropy_, torch::Tensor()),
                          {},
                          &event.residual});
  }

  void see(const OperatorEvent& event) {
    const bool by_bias = event.name == "aten::addmm";  // bias + input * matrix
    if (by_bias || event.name == "aten::linear" || event.name == "aten::matmul" ||
        event.name == "aten::layer_norm") {
      const auto place =
          place_of(event.inputs[event.name == "aten::layer_norm" || by_bias ? 2 : 1]);
      if (place) see(*place, event.inputs[by_bias ? 1 : 0], event.output);
      return;
    }
    if (!details_ || now_ >= by_operators_.size()) return;
    auto& sublayer = by_operators_[now_];
    const auto kind = anatomy_.sublayers[now_].kind;
    if (event.name == "aten::relu" && kind == SublayerKind::kFeedForward) {
      const auto silent = event.output.detach().flatten(0, -2).eq(0).all(0);
      sublayer.dead_units = silent.to(torch::kFloat32).mean();
    }
    if (event.name == "aten::softmax" && kind != SublayerKind::kFeedForward &&
        event.output.dim() >= 3) {
      sublayer.entropy = attention_entropy(event.output.detach().flatten(0, -3).unsqueeze(1));
    }
  }

  void see(const Place& place, const torch::Tensor& input, const torch::Tensor& output) {
    auto& sublayer = by_operators_[place.row];
    switch (place.use) {
      case Use::kRead:
        now_ = place.row;
        if (sublayer.input.defined()) break;
        sublayer.input = input.is_same(normed_) ? norm_input_ : input;
        break;
      case Use::kWrite:
        sublayer.branch = output;  // to which torch::nn::Linear adds its bias in place
        break;
      case Use::kInputNorm:
        normed_ = output;
        norm_input_ = input;
        break;
      case Use::kSumNorm:
        sublayer.output = output;
        break;
    }
  }

  std::optional<Place> place_of(const torch::Tensor& weight) const {
    if (!weight.defined()) return std::nullopt;
    auto found = uses_.find(weight.unsafeGetTensorImpl());
    if (found == uses_.end() && weight.is_view()) {  // transposed, or rows of a packed one
      found = uses_.find(weight._base().unsafeGetTensorImpl());
    }
    return found == uses_.end() ? std::nullopt : std::optional<Place>(found->second);
  }

  const Anatomy& anatomy_;
  const bool details_;
  std::unordered_map<const void*, Place> uses_;
  std::vector<WatchedSublayer> by_operators_;
  std::vector<WatchedSublayer> by_events_;
  size_t now_ = 0;  // row of the matrix that was read last
  torch::Tensor entropy_, normed_, norm_input_;
};

}  // namespace evenkeel::detail
