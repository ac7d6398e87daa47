// SPDX-License-Identifier: MIT
#pragma once

#include "model.hpp"
#include "vocabularies.hpp"

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// Options for `translate`.
struct DecodeOptions {
  /// Beam size; 1 is greedy search.
  int64_t beam = 1;
  /// The exponent a of score / length^a, by which finished translations are ranked; higher values
  /// favour longer translations. The score is the sum of `length` log-probabilities, that of eos
  /// included, where pad, unk and bos have no share.
  double length_penalty = 1.0;
  /// A translation ends after length_ratio * source + length_extra pieces.
  double length_ratio = 1.5;
  int64_t length_extra = 10;
  /// Limit of the rows of a batch, sentences times beam, times its longest source.
  int64_t batch_tokens = 8192;
};

/// Returns the best translation of every source, in pieces without pad, unk, bos and eos. Keys and
/// values are cached; finished sentences are removed from the batch.
std::vector<std::vector<int64_t>> translate(nn::TransformerImpl& model,
                                            const std::vector<std::vector<int64_t>>& sources,
                                            torch::Device device,
                                            bool bfloat16,
                                            const DecodeOptions& options);

/// The same from text to text. The translation of a line without pieces is an empty line.
std::vector<std::string> translate(nn::TransformerImpl& model,
                                   const Vocabularies& vocabularies,
                                   const std::vector<std::string>& sources,
                                   torch::Device device,
                                   bool bfloat16,
                                   const DecodeOptions& options);

}  // namespace evenkeel::examples::translation
