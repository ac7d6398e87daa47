// SPDX-License-Identifier: MIT
#pragma once

#include "checkpoint.hpp"
#include "vocabulary.hpp"

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples {

/// The name in a checkpoint of a model's parameter or buffer.
std::string model_tensor(const std::string& name);

/// Adds a model's parameters and buffers; those of half types as float32.
void store_module(Checkpoint& checkpoint, const torch::nn::Module& module);

/// Copies parameters and buffers into `module`, rounded to its types. Throws CheckpointError, and
/// changes nothing, if one is missing, of another shape or dtype, or not finite, and if there are
/// others.
void restore_module(const Checkpoint& checkpoint,
                    const std::string& file,
                    torch::nn::Module& module);

/// Adds the averages of a model's parameters, which are in their order.
void store_averages(Checkpoint& checkpoint,
                    const torch::nn::Module& module,
                    const std::vector<torch::Tensor>& averages);

/// Copies them back. Throws CheckpointError as `restore_module` does.
void restore_averages(const Checkpoint& checkpoint,
                      const std::string& file,
                      const torch::nn::Module& module,
                      const std::vector<torch::Tensor>& averages);

/// Makes the averages of a checkpoint, if it has any, its model: that is what a run of which they
/// are kept has validated.
void use_averages(Checkpoint& checkpoint);

/// A tensor of a checkpoint. Throws CheckpointError unless it is there, of the shape and dtype of
/// `like` and finite.
const torch::Tensor& tensor_like(const Checkpoint& checkpoint,
                                 const std::string& name,
                                 const torch::Tensor& like,
                                 const std::string& file);

/// The text of that name in a checkpoint. Throws CheckpointError if there is none.
const std::string& text_of(const Checkpoint& checkpoint, const char* name, const std::string& file);

/// The updates after which a checkpoint was saved. Throws CheckpointError if it does not say.
int64_t updates_of(const Checkpoint& checkpoint, const std::string& file);

/// Adds a vocabulary under a name.
void store_vocabulary(Checkpoint& checkpoint, const char* name, const Vocabulary& vocabulary);

/// The vocabulary of that name. Throws CheckpointError if there is none, or one that is damaged.
Vocabulary stored_vocabulary(const Checkpoint& checkpoint,
                             const char* name,
                             const std::string& file);

}  // namespace evenkeel::examples
