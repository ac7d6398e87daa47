// SPDX-License-Identifier: MIT
#pragma once

#include "batches.hpp"
#include "config.hpp"
#include "vocabulary.hpp"

#include <evenkeel/nn/transformer.hpp>

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace evenkeel::translation {

/// Makes the model of a config, initialised with LibTorch's default generator. Its embeddings are
/// tied where the vocabularies are joint.
nn::Transformer<> make_model(const Config& config, const VocabularySizes& sizes);

/// The model's parameters, about; no size overflows it.
double parameter_count(const Config& config, const VocabularySizes& sizes);

/// Throws ConfigError if this machine has not the memory for so many numbers of 4 bytes for each
/// parameter: 1 to translate, 4 to train, with gradients and Adam's means.
void check_memory(const Config& config, const VocabularySizes& sizes, int64_t numbers);

/// The device that a config means; "auto" is CUDA where there is one. Throws ConfigError for one
/// that is unknown or missing.
torch::Device device_of(const Config& config);

/// Selects memory-efficient attention on CUDA. For short sentences, flash attention and cuDNN's
/// take one and a half to three times as long, and cuDNN makes a new plan for every shape.
void prefer_short_attention();

/// Enables bfloat16 autocast for its lifetime, if it is turned on.
class Autocast {
 public:
  Autocast(torch::Device device, bool enabled);
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;
  ~Autocast();

 private:
  torch::DeviceType type_;
  bool enabled_;
  bool before_ = false;
};

/// A batch of token ids, row-major, as an int64 tensor on the device.
torch::Tensor to_tensor(const std::vector<int64_t>& ids,
                        int64_t rows,
                        int64_t columns,
                        torch::Device device);

/// The loss of a batch, summed over its target tokens; in float32, also under autocast.
torch::Tensor summed_loss(nn::TransformerImpl& model,
                          const Batch& batch,
                          torch::Device device,
                          bool bfloat16,
                          double label_smoothing);

}  // namespace evenkeel::translation
