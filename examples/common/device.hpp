// SPDX-License-Identifier: MIT
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples {

/// The device of that name; "auto" is CUDA where there is one. Throws ConfigError for one
/// that is unknown or missing.
torch::Device device_of(const std::string& name);

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

/// Throws ConfigError if this machine has not the memory for so many numbers of 4 bytes for each
/// parameter; the error names `options`, by which a model gets smaller.
void check_memory_for(double parameters, int64_t numbers, const char* options);

}  // namespace evenkeel::examples
