// SPDX-License-Identifier: MIT
#pragma once

#include "batches.hpp"
#include "common/device.hpp"
#include "config.hpp"
#include "vocabularies.hpp"

#include <evenkeel/nn/transformer.hpp>

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace evenkeel::examples::translation {

/// Makes the model of a config, initialised with LibTorch's default generator. Its embeddings are
/// tied where the vocabularies are joint.
nn::Transformer<> make_model(const Config& config, const VocabularySizes& sizes);

/// The model's parameters, about; no size overflows it.
double parameter_count(const Config& config, const VocabularySizes& sizes);

/// Throws ConfigError if this machine has not the memory for so many numbers of 4 bytes for each
/// parameter: 1 to translate, 4 to train, with gradients and Adam's means.
void check_memory(const Config& config, const VocabularySizes& sizes, int64_t numbers);

/// `source`, `target_input` and `target_output` of a batch, int64, (B, S) and (B, T).
std::vector<torch::Tensor> to_tensors(const Batch& batch, torch::Device device);

/// The loss of the tensors of a batch, summed over its target tokens; in float32, also under
/// autocast.
torch::Tensor summed_loss(nn::TransformerImpl& model,
                          const std::vector<torch::Tensor>& batch,
                          bool bfloat16,
                          double label_smoothing);

}  // namespace evenkeel::examples::translation
