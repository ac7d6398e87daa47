// SPDX-License-Identifier: MIT
#include "layer_statistics.hpp"

#include "common/device.hpp"
#include "common/evaluation_mode.hpp"

#include <evenkeel/residual/observer.hpp>

#include <ATen/ATen.h>
#include <torch/utils.h>

#include <cmath>
#include <cstddef>

namespace evenkeel::examples::language_model {

LayerStatistics statistics_of(const torch::Tensor& activations) {
  auto x = activations.detach().to(torch::kFloat64).flatten(0, -2);
  x = x - x.mean(1, /*keepdim=*/true);
  const auto squares = x.square().mean(0);
  const double mean = squares.mean().item<double>();
  const bool varies = squares.numel() > 1 && mean > 0.0;
  return {std::sqrt(mean), varies ? squares.var().item<double>() / (mean * mean) : 0.0, 0.0};
}

std::vector<LayerStatistics> layer_statistics(nn::LanguageModelImpl& model,
                                              const torch::Tensor& tokens,
                                              bool bfloat16) {
  const torch::NoGradGuard no_grad;
  const Autocast autocast(tokens.device(), bfloat16);
  const EvaluationMode evaluation(model);
  std::vector<LayerStatistics> layers(static_cast<size_t>(model.options.num_layers()));
  double entropy = 0.0;  // of the attention that was seen last
  {
    const Observer observer(
        [&](const SublayerEvent& event) {
          auto& layer = layers.at(static_cast<size_t>(static_cast<int64_t>(event.position.layer)));
          layer = statistics_of(event.output);  // the last sub-layer's stays
          layer.attention_entropy = entropy;
        },
        [&](const AttentionEvent& event) {
          // shaped attention has weights below 0 too, which have no entropy
          const auto weights = event.weights.to(torch::kFloat32).clamp_min(0.0);
          entropy = -at::xlogy(weights, weights).sum(-1).mean().item<double>();
        });
    model.forward(tokens);
  }
  return layers;
}

}  // namespace evenkeel::examples::language_model
