// SPDX-License-Identifier: MIT
#pragma once

#include "vocabulary.hpp"

#include <cstdint>
#include <string>

namespace evenkeel::examples {

/// Settings of a vocabulary that is trained. A program's own settings derive from them.
struct VocabularySettings {
  int64_t vocab_size = 8000;               ///< Pieces of a vocabulary that is trained.
  int64_t vocab_sentences = 100'000;       ///< Sentences that it is trained on at most; 0 for all.
  std::string vocab_type = "unigram";      ///< unigram or bpe.
  std::string normalization = "identity";  ///< SentencePiece's; identity changes no character.
  double character_coverage = 0.9995;      ///< Share of the text's characters that get pieces.
  int64_t byte_fallback = 0;  ///< 1: missing characters are spelled as bytes; takes 256 pieces.
};

/// Calls `visit(name, field, help, may_change)` for each of them; see `for_each_run_setting`.
template <typename AnySettings, typename Visit>
void for_each_vocabulary_setting(AnySettings& c, Visit&& visit) {
  visit("vocab-size", c.vocab_size, "pieces of a vocabulary that is trained", false);
  visit("vocab-sentences", c.vocab_sentences, "that it is trained on at most; 0: all", false);
  visit("vocab-type", c.vocab_type, "unigram or bpe", false);
  visit("normalization",
        c.normalization,
        "identity keeps every character; nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf",
        false);
  visit("character-coverage", c.character_coverage, "share of characters with pieces", false);
  visit("byte-fallback", c.byte_fallback, "1: other characters as bytes, 256 pieces", false);
}

/// Throws ConfigError for values out of range.
void check_vocabulary_settings(const VocabularySettings& settings);

/// The same as options.
VocabularyOptions vocabulary_options(const VocabularySettings& settings);

}  // namespace evenkeel::examples
