// SPDX-License-Identifier: MIT
#include "model_values.hpp"

#include <ATen/ATen.h>
#include <sys/resource.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <vector>

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

}  // namespace evenkeel::examples
