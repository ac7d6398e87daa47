// SPDX-License-Identifier: MIT
#pragma once

#include "checkpoint.hpp"

#include <evenkeel/train/fused_adam.hpp>

#include <torch/nn/module.h>
#include <torch/types.h>

#include <string>

namespace evenkeel::examples {

/// Adds Adam's counts and means and the generators' states to a checkpoint: what training needs
/// beside the model.
void store_training(Checkpoint& checkpoint,
                    const torch::nn::Module& model,
                    train::FusedAdam& optimizer,
                    torch::Device device);

/// Copies them back. Throws CheckpointError, which names `file`, if one is missing, of another
/// shape or dtype, not finite or out of range, and if there are others.
void restore_training(const Checkpoint& checkpoint,
                      const std::string& file,
                      const torch::nn::Module& model,
                      train::FusedAdam& optimizer,
                      torch::Device device);

}  // namespace evenkeel::examples
