// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// chrF of a corpus, and the statistics from which it is computed; index n - 1 is for n-grams of
/// characters.
struct Chrf {
  /// 0 to 100.
  double score = 0.0;
  /// N-grams in all hypotheses whose reference has any.
  std::array<int64_t, 6> hypothesis{};
  /// N-grams in all references.
  std::array<int64_t, 6> reference{};
  /// N-grams found, each counted at most as often as it occurs in the reference.
  std::array<int64_t, 6> matches{};
};

/// chrF2 with one reference per hypothesis, of characters without white space:
///
///     score = 5 P R / (4 P + R)
///
/// P and R are the means of the precisions and of the recalls of n-grams, n = 1..6, of those orders
/// that both sides have. Equal to sacreBLEU 2 with signature
/// nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no. Text must be UTF-8. Throws std::invalid_argument
/// if the two counts differ or are zero.
/// Paper: Popović 2015, https://aclanthology.org/W15-3049.
Chrf corpus_chrf(const std::vector<std::string>& hypotheses,
                 const std::vector<std::string>& references);

}  // namespace evenkeel::examples::translation
