// SPDX-License-Identifier: MIT
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace evenkeel::examples {

/// The mean gains of a model's residuals, of those that it has: `omega` of the shortcuts and
/// `branch_gain` of the branches. Waits for the model's device.
std::map<std::string, double> mean_gains(const torch::nn::Module& model);

/// A copy of a model, all of it in float32.
template <typename Holder>
Holder float32_copy(const Holder& model) {
  Holder copy(std::dynamic_pointer_cast<typename Holder::ContainedType>(model->clone()));
  copy->to(torch::kFloat32);
  return copy;
}

/// The most memory that the process has had, in bytes; without that of a GPU.
int64_t peak_memory();

/// The most memory of a GPU that tensors of the process have had, in bytes; nothing for other
/// devices, and before LibTorch 2.9, which does not tell it without CUDA's headers.
std::optional<int64_t> peak_gpu_memory(torch::Device device);

}  // namespace evenkeel::examples
