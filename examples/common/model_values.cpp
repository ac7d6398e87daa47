// SPDX-License-Identifier: MIT
#include "model_values.hpp"

#include <ATen/ATen.h>
#include <sys/resource.h>
#include <torch/types.h>
#include <torch/utils.h>
#include <torch/version.h>

#include <cstddef>
#include <vector>

// With LibTorch 2.9, allocators of every device got one interface.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 9)
#include <c10/core/CachingDeviceAllocator.h>
#define EVENKEEL_KNOWS_GPU_MEMORY 1
#else
#define EVENKEEL_KNOWS_GPU_MEMORY 0
#endif

namespace evenkeel::examples {

std::map<std::string, double> mean_gains(const torch::nn::Module& model) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, std::vector<torch::Tensor>> found;
  const auto take = [&](const auto& tensors) {
    for (const auto& item : tensors) {
      const auto name = item.key().substr(item.key().rfind('.') + 1);
      if (name == "omega" || name == "branch_gain") {
        found[name].push_back(item.value().to(torch::kFloat64).mean());
      }
    }
  };
  take(model.named_parameters());
  take(model.named_buffers());
  std::map<std::string, double> means;
  for (const auto& [name, each] : found) {
    means[name] = torch::stack(each).mean().item<double>();
  }
  return means;
}

int64_t peak_memory() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  constexpr int64_t kUnit = 1;
#else
  constexpr int64_t kUnit = 1024;
#endif
  return usage.ru_maxrss * kUnit;
}

std::optional<int64_t> peak_gpu_memory(torch::Device device) {
#if EVENKEEL_KNOWS_GPU_MEMORY
  if (!device.is_cuda()) return std::nullopt;
  auto* allocator = at::getDeviceAllocator(device.type());
  if (!allocator->initialized()) return std::nullopt;
  using Statistic = c10::CachingAllocator::StatType;
  const auto index = device.has_index() ? device.index() : c10::DeviceIndex{0};
  return allocator->getDeviceStats(index)
      .allocated_bytes[static_cast<size_t>(Statistic::AGGREGATE)]
      .peak;
#else
  static_cast<void>(device);
  return std::nullopt;
#endif
}

}  // namespace evenkeel::examples
