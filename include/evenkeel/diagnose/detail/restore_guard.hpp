// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/detail/flat_copies.hpp>

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/ops/_foreach_copy.h>
#include <c10/core/Device.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// The random state of the default generators of some devices.
class RngState {
 public:
  explicit RngState(const std::vector<c10::Device>& devices) {
    for (const auto& device : devices) {
      auto generator = at::globalContext().defaultGenerator(device);
      const std::lock_guard<std::mutex> lock(generator.mutex());
      states_.emplace_back(generator, generator.get_state());
    }
  }

  /// Puts the generators back to where they were.
  void restore() {
    for (auto& [generator, state] : states_) {
      const std::lock_guard<std::mutex> lock(generator.mutex());
      generator.set_state(state);
    }
  }

 private:
  std::vector<std::pair<at::Generator, at::Tensor>> states_;
};

/// The CPU and every device on which one of the tensors lies.
inline std::vector<c10::Device> devices_of(const std::vector<torch::Tensor>& parameters,
                                           const std::vector<torch::Tensor>& buffers) {
  std::vector<c10::Device> devices{c10::Device(c10::kCPU)};
  for (const auto* tensors : {&parameters, &buffers}) {
    for (const auto& tensor : *tensors) {
      if (std::find(devices.begin(), devices.end(), tensor.device()) == devices.end()) {
        devices.push_back(tensor.device());
      }
    }
  }
  return devices;
}

/// Puts a model back as it was, bit for bit, when it goes out of scope: the given weights, all
/// buffers, the default generators, and every module's train or eval mode.
class RestoreGuard {
 public:
  RestoreGuard(torch::nn::Module& model,
               const std::vector<torch::Tensor>& parameters,
               const std::vector<torch::Tensor>& weights)
      : RestoreGuard(model, parameters, weights, model.buffers()) {}

  RestoreGuard(const RestoreGuard&) = delete;
  RestoreGuard& operator=(const RestoreGuard&) = delete;

  ~RestoreGuard() {
    restore_tensors();
    rng_.restore();
    // train() recurses; parents stand before their children, so each child has the last word.
    for (const auto& [module, training] : modes_) {
      if (module->is_training() != training) module->train(training);
    }
  }

  /// Weights and buffers alone, for the next trial.
  void restore_tensors() {
    const torch::NoGradGuard no_grad;
    for (const auto& group : saved_) at::_foreach_copy_(group.tensors, group.copies);
  }

  void restore_rng() { rng_.restore(); }

 private:
  RestoreGuard(torch::nn::Module& model,
               const std::vector<torch::Tensor>& parameters,
               const std::vector<torch::Tensor>& weights,
               std::vector<torch::Tensor> saved)
      : rng_(devices_of(parameters, saved)) {
    const torch::NoGradGuard no_grad;
    saved.insert(saved.begin(), weights.begin(), weights.end());
    saved_ = flat_copies(saved);
    for (const auto& group : saved_) at::_foreach_copy_(group.copies, group.tensors);
    modes_.emplace_back(&model, model.is_training());
    for (const auto& module : model.modules(/*include_self=*/false)) {
      modes_.emplace_back(module.get(), module->is_training());
    }
  }

  RngState rng_;
  std::vector<FlatCopies> saved_;
  std::vector<std::pair<torch::nn::Module*, bool>> modes_;
};

}  // namespace evenkeel::detail
