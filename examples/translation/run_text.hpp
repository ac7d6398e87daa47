// SPDX-License-Identifier: MIT
#pragma once

#include "batches.hpp"
#include "common/fingerprint.hpp"
#include "common/progress.hpp"
#include "config.hpp"
#include "corpus.hpp"
#include "vocabularies.hpp"

#include <optional>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// All text of a run, cut into pieces.
struct RunText {
  Corpus train;
  Corpus valid;  ///< Of the pairs that fit; empty where there is none.
  Vocabularies vocabularies;
  Texts texts;  ///< By option: source, target and validation's.
};

/// Reads the text of a config. Vocabularies are `stored`, from a checkpoint, if there are any;
/// otherwise from files, or trained where none is named. Throws TextError, VocabularyError, and
/// ConfigError for validation text without a pair that fits. Says what takes time and what is left
/// out.
RunText read_text(const Config& config, std::optional<Vocabularies> stored, Progress& progress);

/// The batches of a config's training text. Throws ConfigError if no pair fits.
BatchSchedule schedule_of(const Config& config, const std::vector<Pair>& pairs);

/// The files of a text as errors have them; there may be none of targets.
std::string names(const std::vector<std::string>& source, const std::vector<std::string>& target);

}  // namespace evenkeel::examples::translation
