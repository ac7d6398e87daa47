// SPDX-License-Identifier: MIT
#pragma once

#include "corpus.hpp"
#include "vocabulary.hpp"

#include <evenkeel/nn/transformer.hpp>

#include <torch/types.h>
#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel::translation {

/// A translation beside what it should be.
struct Sample {
  std::string source;
  std::string reference;
  std::string hypothesis;
};

/// How good a model is on held-out text.
struct Validation {
  double loss = 0.0;           ///< Negative log-likelihood a token, without label smoothing.
  std::optional<double> bleu;  ///< Of the first sentences.
  int64_t sentences = 0;       ///< How many that were.
  std::vector<Sample> samples;

  /// The higher the better: BLEU where there is one, else the loss below 0.
  double score() const { return bleu ? *bleu : -loss; }
  /// What `score()` is, as in "BLEU of 500 sentences" or "loss".
  std::string score_of() const;
  /// As the log has it.
  nlohmann::json to_json() const;
  /// As the terminal has it.
  std::string to_line() const;
};

/// Options for `validate`.
struct ValidationOptions {
  int64_t batch_tokens = 2048;
  int64_t max_length = 128;  ///< Not a limit where the corpus was cut to it already.
  int64_t sentences = 500;   ///< That are translated, at most.
};

/// Validates; the model comes back in its mode.
Validation validate(nn::TransformerImpl& model,
                    const Vocabularies& vocabularies,
                    const Corpus& corpus,
                    torch::Device device,
                    bool bfloat16,
                    const ValidationOptions& options);

}  // namespace evenkeel::translation
