// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/language_model.hpp>

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace evenkeel::examples::language_model {

/// Options for `generate`.
struct GenerateOptions {
  int64_t max_tokens = 200;  ///< New tokens, at most.
  double temperature = 0.8;  ///< Of the softmax; 0 takes the most likely token.
  int64_t top_k = 0;         ///< Only the most likely ones are drawn; 0 for all.
  /// Tokens that the model reads at most, such as those of the sequences that it was trained on; 0
  /// for no limit. When there are more, it goes on from the last half of them.
  int64_t context = 0;
  uint64_t seed = 1;           ///< Of the draws; the model's generators are not touched.
  std::vector<int64_t> never;  ///< Tokens that are not drawn.
  bool cache = true;           ///< Whether keys and values are kept.
};

/// The tokens that follow `prompt`, up to the end of a document or `max_tokens`. The model comes
/// back in its mode. An empty prompt is the end of a document.
std::vector<int64_t> generate(nn::LanguageModelImpl& model,
                              const std::vector<int64_t>& prompt,
                              int64_t end,
                              torch::Device device,
                              bool bfloat16,
                              const GenerateOptions& options);

}  // namespace evenkeel::examples::language_model
