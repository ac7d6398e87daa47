// SPDX-License-Identifier: MIT
#pragma once

#include "common/update_step.hpp"

#include <evenkeel/train/fused_adam.hpp>

#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace evenkeel::examples {

/// A linear layer that learns to give numbers back, from 0 to 7, one a token: what the parts of a
/// training run need to be tried without any text.
struct SmallModel {
  explicit SmallModel(double lr = 1e-2, double max_norm = 0.0, double smoothing = 0.0)
      : linear(1, 1),
        step(
            linear.ptr(),
            std::make_unique<train::FusedAdam>(linear->parameters(),
                                               train::FusedAdamOptions().max_norm(max_norm)),
            torch::kCPU,
            [](const std::vector<int64_t>& indices) {
              return TrainBatch{static_cast<int64_t>(indices.size()),
                                {torch::tensor(indices).to(torch::kFloat32)}};
            },
            [this](const std::vector<torch::Tensor>& tensors) {
              const auto& x = tensors.front();
              const auto loss = (linear(x.unsqueeze(1)).squeeze(1) - x).square().sum();
              return spoil ? spoil(loss) : loss;
            },
            [lr](int64_t) { return lr; },
            smoothing) {}

  torch::nn::Linear linear;
  std::function<torch::Tensor(const torch::Tensor& loss)> spoil;  ///< Changes a loss, if set.
  UpdateStep step;
};

/// Two batches an epoch.
inline std::vector<std::vector<int64_t>> small_order(int64_t epoch) {
  return epoch % 2 == 0 ? std::vector<std::vector<int64_t>>{{0, 1, 2, 3}, {4, 5, 6, 7}}
                        : std::vector<std::vector<int64_t>>{{1, 3, 5, 7}, {0, 2, 4, 6}};
}

}  // namespace evenkeel::examples
