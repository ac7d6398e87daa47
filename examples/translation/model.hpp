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

/// R-Drop's loss of the tensors of a batch, likewise summed: each pair is read twice, with other
/// dropout, and the divergence of the two predictions P and Q of each token is added:
///
///     (CE(P) + CE(Q) + weight * (KL(P || Q) + KL(Q || P)) / 2) / 2
///
/// which is half of the paper's, so that it is the loss of one pass where they agree.
/// Paper: Wu et al. 2021, https://arxiv.org/abs/2106.14448.
torch::Tensor summed_rdrop_loss(nn::TransformerImpl& model,
                                const std::vector<torch::Tensor>& batch,
                                bool bfloat16,
                                double label_smoothing,
                                double weight);

}  // namespace evenkeel::examples::translation
