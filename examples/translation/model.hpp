// SPDX-License-Identifier: MIT
#pragma once

#include "config.hpp"

#include <evenkeel/nn/transformer.hpp>

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace evenkeel::translation {

/// A fresh model as the config has it, drawn from LibTorch's generator.
nn::Transformer<> make_model(const Config& config, int64_t vocab_size);

/// The device that a config means; "auto" is CUDA where there is one. Throws ConfigError for one
/// that is unknown or missing.
torch::Device device_of(const Config& config);

/// Chooses memory-efficient attention on CUDA. Sentences are short: flash and cuDNN's attention
/// take one and a half to three times as long for them, and cuDNN's plans anew for every shape.
void prefer_short_attention();

/// bfloat16 autocast, while it lives and if asked for.
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

}  // namespace evenkeel::translation
