// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <c10/core/Device.h>
#include <torch/types.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// The state of the default generators of the given devices.
class RngState {
 public:
  explicit RngState(const std::vector<c10::Device>& devices) {
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

/// Puts the CPU's random numbers back to where they were: modules draw weights when they are made.
class KeepRandomState {
 public:
  KeepRandomState() = default;
  ~KeepRandomState() { state_.restore(); }
  KeepRandomState(const KeepRandomState&) = delete;
  KeepRandomState& operator=(const KeepRandomState&) = delete;

 private:
  RngState state_{std::vector<c10::Device>{c10::kCPU}};
};

}  // namespace evenkeel::detail
