// SPDX-License-Identifier: MIT
#include "vocabulary_settings.hpp"

#include "settings.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace evenkeel::examples {

void check_vocabulary_settings(const VocabularySettings& c) {
  expect_within(5, 1'000'000, "vocab-size", c.vocab_size);
  expect_within(0, std::numeric_limits<int64_t>::max(), "vocab-sentences", c.vocab_sentences);
  expect_within(0, 1, "byte-fallback", c.byte_fallback);
  expect(c.vocab_type == "unigram" || c.vocab_type == "bpe",
         "vocab-type",
         "unigram or bpe",
         c.vocab_type);
  const std::vector<std::string> normalizations{"identity",
                                                "nmt_nfkc",
                                                "nfkc",
                                                "nmt_nfkc_cf",
                                                "nfkc_cf"};
  expect(std::find(normalizations.begin(), normalizations.end(), c.normalization) !=
             normalizations.end(),
         "normalization",
         fmt::format("one of {}", fmt::join(normalizations, ", ")),
         c.normalization);
  expect(c.character_coverage >= 0.98 && c.character_coverage <= 1.0,
         "character-coverage",
         "a number from 0.98 to 1",
         value_of(c.character_coverage));
}

VocabularyOptions vocabulary_options(const VocabularySettings& c) {
  VocabularyOptions options;
  options.model = c.vocab_type == "bpe" ? PieceModel::kBpe : PieceModel::kUnigram;
  options.character_coverage = c.character_coverage;
  options.byte_fallback = c.byte_fallback != 0;
  options.normalization = c.normalization;
  options.max_sentences = c.vocab_sentences;
  return options;
}

}  // namespace evenkeel::examples
