// SPDX-License-Identifier: MIT
#pragma once

#include "config.hpp"

#include <evenkeel/nn/language_model.hpp>

#include <torch/types.h>

#include <cstdint>

namespace evenkeel::examples::language_model {

/// Makes the model of a config, initialised with LibTorch's default generator.
nn::LanguageModel<> make_model(const Config& config, int64_t vocab_size);

/// Throws ConfigError if this machine has not the memory for so many numbers of 4 bytes for each
/// parameter: 1 to generate, 4 to train, with gradients and Adam's means.
void check_memory(const Config& config, int64_t vocab_size, int64_t numbers);

/// The loss of sequences (B, T + 1), summed over the B * T tokens that are predicted; in float32,
/// also under autocast.
torch::Tensor summed_loss(nn::LanguageModelImpl& model, const torch::Tensor& rows, bool bfloat16);

}  // namespace evenkeel::examples::language_model
