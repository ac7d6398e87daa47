// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <c10/core/Device.h>
#include <torch/cuda.h>
#include <torch/types.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// The state of the default generators of the CPU, of every CUDA device, and of the given devices.
class RngState {
 public:
  explicit RngState(std::vector<c10::Device> devices) {
    devices.emplace_back(c10::kCPU);
    const auto count = static_cast<c10::DeviceIndex>(torch::cuda::device_count());
    for (c10::DeviceIndex i = 0; i < count; ++i) devices.emplace_back(c10::kCUDA, i);
    std::vector<c10::Device> done;
    for (const auto& device : devices) {
      if (std::find(done.begin(), done.end(), device) != done.end()) continue;
      done.push_back(device);
      auto generator = at::globalContext().defaultGenerator(device);
      const std::lock_guard<std::mutex> lock(generator.mutex());
      states_.emplace_back(generator, generator.get_state());
    }
  }

  /// Sets every generator to its saved state.
  void restore() {
    for (auto& [generator, state] : states_) {
      const std::lock_guard<std::mutex> lock(generator.mutex());
      generator.set_state(state);
    }
  }

 private:
  std::vector<std::pair<at::Generator, at::Tensor>> states_;
};

}  // namespace evenkeel::detail
