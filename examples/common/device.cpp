// SPDX-License-Identifier: MIT
#include "device.hpp"

#include "settings.hpp"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/cuda.h>
#include <unistd.h>

#include <algorithm>

namespace evenkeel::examples {

torch::Device device_of(const std::string& name) {
  if (name == "auto") return torch::cuda::is_available() ? torch::kCUDA : torch::kCPU;
  try {
    const torch::Device device(name);
    if (device.is_cpu()) return device;
    if (device.is_cuda()) {
      const auto count = torch::cuda::device_count();
      if (device.has_index() ? device.index() < count : count > 0) return device;
      throw ConfigError(
          fmt::format("--device: expected one of {} CUDA devices here, but got {}", count, name));
    }
  } catch (const c10::Error&) {  // not the name of a device
  }
  throw ConfigError(fmt::format("--device: expected auto, cpu, cuda or cuda:N, but got {}", name));
}

void prefer_short_attention() {
  at::globalContext().setSDPUseFlash(false);
  at::globalContext().setSDPUseCuDNN(false);
}

Autocast::Autocast(torch::Device device, bool enabled) : type_(device.type()), enabled_(enabled) {
  if (!enabled_) return;
  before_ = at::autocast::is_autocast_enabled(type_);
  at::autocast::set_autocast_enabled(type_, true);
  at::autocast::set_autocast_dtype(type_, torch::kBFloat16);
  at::autocast::increment_nesting();
}

Autocast::~Autocast() {
  if (!enabled_) return;
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(type_, before_);
}

torch::Tensor to_tensor(const std::vector<int64_t>& ids,
                        int64_t rows,
                        int64_t columns,
                        torch::Device device) {
  auto tensor =
      torch::empty({rows, columns}, torch::dtype(torch::kInt64).pinned_memory(device.is_cuda()));
  std::copy(ids.begin(), ids.end(), tensor.data_ptr<int64_t>());
  return tensor.to(device, /*non_blocking=*/true);
}

void check_memory_for(double parameters, int64_t numbers, const char* options) {
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  const double need = 4.0 * static_cast<double>(numbers) * parameters / kGiB;
  const double have = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
                      static_cast<double>(::sysconf(_SC_PAGESIZE)) / kGiB;
  if (need < have) return;
  throw ConfigError(
      fmt::format("expected a model that fits in the memory of {:.1f} GiB, but its {:.3g} "
                  "parameters take {:.3g} GiB; see {}",
                  have,
                  parameters,
                  need,
                  options));
}

}  // namespace evenkeel::examples
