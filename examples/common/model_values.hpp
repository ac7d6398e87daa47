// SPDX-License-Identifier: MIT
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace evenkeel::examples {

/// The mean gains of a model's residuals, of those that it has: `omega` of the shortcuts and
/// `branch_gain` of the branches. Waits for the model's device.
std::map<std::string, double> mean_gains(const torch::nn::Module& model);

/// The most memory that the process has had, in bytes; without that of a GPU.
int64_t peak_memory();

/// The most memory of a GPU that tensors of the process have had, in bytes; nothing for other
/// devices, and before LibTorch 2.9, which does not tell it without CUDA's headers.
std::optional<int64_t> peak_gpu_memory(torch::Device device);

}  // namespace evenkeel::examples
