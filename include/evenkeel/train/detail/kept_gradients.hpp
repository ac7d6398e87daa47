// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/train/fused_adam.hpp>

#include <ATen/ops/_foreach_zero.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace evenkeel::train::detail {

/// Calls `function(parameter)` for all parameters of an optimizer, in order.
template <typename Function>
void for_each_parameter(FusedAdam& optimizer, const Function& function) {
  for (auto& group : optimizer.param_groups()) {
    for (auto& parameter : group.params()) function(parameter);
  }
}

/// The gradients of an optimizer's parameters, in order; undefined where there is none.
inline std::vector<torch::Tensor> gradients_of(FusedAdam& optimizer) {
  std::vector<torch::Tensor> gradients;
  for_each_parameter(optimizer,
                     [&](torch::Tensor& parameter) { gradients.push_back(parameter.grad()); });
  return gradients;
}

inline void set_gradients(FusedAdam& optimizer, const std::vector<torch::Tensor>& gradients) {
  size_t i = 0;
  for_each_parameter(optimizer,
                     [&](torch::Tensor& parameter) { parameter.mutable_grad() = gradients[i++]; });
}

/// Whether they are the same tensors, and not only of the same values.
inline bool same_tensors(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.is_same(y);
  });
}

/// The tensors in which the gradients of several batches are summed. They stay from one update to
/// the next, since graphs have their addresses; between updates parameters have no gradients.
class KeptGradients {
 public:
  explicit KeptGradients(FusedAdam& optimizer) : optimizer_(optimizer) {}

  /// Gives them to the parameters, before a batch or the update is run.
  void put() const {
    if (!kept_.empty()) set_gradients(optimizer_, kept_);
  }

  /// Takes in what a batch has added. Returns whether it was the first one with a gradient of some
  /// parameter, which an update that is captured does not know.
  bool take_new() {
    auto now = gradients_of(optimizer_);
    if (same_tensors(now, kept_)) return false;
    kept_ = std::move(now);
    return true;
  }

  /// Makes them 0, after the update.
  void clear_values() const {
    std::vector<torch::Tensor> defined;
    for (const auto& gradient : kept_) {
      if (gradient.defined()) defined.push_back(gradient);
    }
    if (!defined.empty()) at::_foreach_zero_(defined);
  }

  void drop() { kept_.clear(); }

 private:
  FusedAdam& optimizer_;
  std::vector<torch::Tensor> kept_;
};

}  // namespace evenkeel::train::detail
