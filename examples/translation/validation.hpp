// SPDX-License-Identifier: MIT
#pragma once

#include "common/validator.hpp"
#include "corpus.hpp"
#include "vocabularies.hpp"

#include <evenkeel/nn/transformer.hpp>

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// A translation beside what it should be.
struct Sample {
  std::string source;
  std::string reference;
  std::string hypothesis;
};

/// How good a model is on held-out text.
struct Validation {
  double loss = 0.0;                     ///< Negative log-likelihood a token, without smoothing.
  std::map<std::string, double> scores;  ///< Text metrics of the first sentences, by name.
  int64_t sentences = 0;                 ///< How many that were.
  std::vector<Sample> samples;

  /// As the trainer's loop has it, with these metrics.
  ValidationReport report(const std::vector<std::string>& metrics) const;
};

/// Options for `validate`.
struct ValidationOptions {
  int64_t batch_tokens = 2048;
  int64_t max_length = 128;  ///< Not a limit where the corpus was cut to it already.
  int64_t sentences = 500;   ///< That are translated, at most.
  /// What the model is measured by, the first decides; see `valid_metrics()`. If something is
  /// translated, BLEU is measured in any case.
  std::vector<std::string> metrics{"bleu"};
};

/// Validates; the model comes back in its mode.
Validation validate(nn::TransformerImpl& model,
                    const Vocabularies& vocabularies,
                    const Corpus& corpus,
                    torch::Device device,
                    bool bfloat16,
                    const ValidationOptions& options);

}  // namespace evenkeel::examples::translation
