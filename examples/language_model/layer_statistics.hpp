// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/language_model.hpp>

#include <torch/types.h>

#include <vector>

namespace evenkeel::examples::language_model {

/// What the activations of a layer look like. With s_j^2 the mean over tokens of the squares of
/// feature j, each token centred over its features as LayerNorm does:
///
///     rms = sqrt(mean_j s_j^2),   kurtosis = var_j(s_j^2) / (mean_j s_j^2)^2
///
/// with the unbiased variance over the d features. kurtosis is 0 where all features are alike and d
/// where one of them holds everything: it shows outliers. Source: bobby-he/simplified_transformers,
/// whose x_rms and kurtosis these are.
struct LayerStatistics {
  double rms;
  double kurtosis;
  double attention_entropy;  ///< -sum a ln a, the mean over heads and queries, in nats.
};

/// The rms and the kurtosis of activations (*, features).
LayerStatistics statistics_of(const torch::Tensor& activations);

/// The statistics of every layer's output in a forward pass of tokens (B, T), without gradients.
/// The model comes back in its mode.
std::vector<LayerStatistics> layer_statistics(nn::LanguageModelImpl& model,
                                              const torch::Tensor& tokens,
                                              bool bfloat16);

}  // namespace evenkeel::examples::language_model
