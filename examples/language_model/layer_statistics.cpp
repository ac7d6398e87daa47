// SPDX-License-Identifier: MIT
#include "layer_statistics.hpp"

#include "common/device.hpp"
#include "common/evaluation_mode.hpp"

#include <evenkeel/diagnose/activation_statistics.hpp>
#include <evenkeel/residual/observer.hpp>

#include <torch/utils.h>

#include <cstddef>

namespace evenkeel::examples::language_model {

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
          const auto found = activation_statistics(event.output);
          layer = {found.rms, found.kurtosis, entropy};  // the last sub-layer's stays
        },
        [&](const AttentionEvent& event) {
          entropy = attention_entropy(event.weights).mean().item<double>();
        });
    model.forward(tokens);
  }
  return layers;
}

}  // namespace evenkeel::examples::language_model
