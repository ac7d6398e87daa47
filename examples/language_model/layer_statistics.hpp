// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/language_model.hpp>

#include <torch/types.h>

#include <vector>

namespace evenkeel::examples::language_model {

/// What `activation_statistics` and `attention_entropy` say of a layer's output.
struct LayerStatistics {
  double rms;
  double kurtosis;
  double attention_entropy;  ///< The mean over heads, in nats.
};

/// The statistics of every layer's output in a forward pass of tokens (B, T), without gradients.
/// The model comes back in its mode.
std::vector<LayerStatistics> layer_statistics(nn::LanguageModelImpl& model,
                                              const torch::Tensor& tokens,
                                              bool bfloat16);

}  // namespace evenkeel::examples::language_model
