// SPDX-License-Identifier: MIT
#pragma once

#include "ensemble.hpp"
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
  /// The factor b of GNMT's coverage penalty, b * sum_i log(min(sum_j a_ij, 1)), which is added to
  /// score / length^a. a_ij is what step j attends to in piece i of the source: the first head of
  /// the last cross-attention, as in OpenNMT and CTranslate2; of an ensemble, the mean. Higher
  /// values favour translations that leave nothing out. 0: none. Paper: Wu et al. 2016,
  /// https://arxiv.org/abs/1609.08144.
  double coverage_penalty = 0.0;
  /// Translations that are returned of a source, up to `beam`.
  int64_t n_best = 1;
  /// Draws every piece by its probability, where the search would take the best; the beam is 1.
  bool sampling = false;
  /// Of the draws: log-probabilities are divided by it.
  double temperature = 1.0;
  /// Of the draws: only so many pieces, the likeliest; 0 for all.
  int64_t top_k = 0;
  /// A translation ends after length_ratio * source + length_extra pieces.
  double length_ratio = 1.5;
  int64_t length_extra = 10;
  /// Limit of the rows of a batch, sentences times beam, times its longest source.
  int64_t batch_tokens = 8192;
};

/// A translation with its score.
struct Translation {
  std::vector<int64_t> pieces;   ///< Without pad, unk, bos and eos.
  double log_probability = 0.0;  ///< Of the pieces and of eos behind them.
  double score = 0.0;            ///< By which translations are ranked, with both penalties.
};

/// Returns the best translations of every source, in pieces, as many as `n_best` says and the beam
/// has finished, the best first; none of a source without pieces. Keys and values are cached;
/// finished sentences are removed from the batch.
std::vector<std::vector<Translation>> translate_n_best(
    const Models& models,
    const std::vector<std::vector<int64_t>>& sources,
    torch::Device device,
    bool bfloat16,
    const DecodeOptions& options);

/// The pieces of the best alone, by one model.
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

/// log_probability / length^penalty, where `length` is the number of pieces and eos in it.
double normalized(double log_probability, int64_t length, double length_penalty);

}  // namespace evenkeel::examples::translation
