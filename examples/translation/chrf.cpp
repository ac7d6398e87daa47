// SPDX-License-Identifier: MIT
#include "chrf.hpp"

#include "check_counts.hpp"
#include "ngrams.hpp"
#include "words.hpp"

#include <cstddef>

namespace evenkeel::examples::translation {

namespace {

constexpr std::size_t kOrders = 6;

std::vector<char32_t> characters(const std::string& text) {
  std::string joined;
  for (const auto word : split_words(text)) {
    joined += word;
  }
  return code_points(joined);
}

double score_of(const Chrf& chrf) {
  double precision = 0.0;
  double recall = 0.0;
  int orders = 0;
  for (std::size_t n = 0; n < kOrders; ++n) {
    if (chrf.hypothesis[n] == 0 || chrf.reference[n] == 0) {
      continue;
    }
    const auto matches = static_cast<double>(chrf.matches[n]);
    precision += matches / static_cast<double>(chrf.hypothesis[n]);
    recall += matches / static_cast<double>(chrf.reference[n]);
    ++orders;
  }
  if (precision + recall == 0.0) {
    return 0.0;
  }
  precision /= orders;
  recall /= orders;
  return 100.0 * 5.0 * precision * recall / (4.0 * precision + recall);
}

}  // namespace

Chrf corpus_chrf(const std::vector<std::string>& hypotheses,
                 const std::vector<std::string>& references) {
  check_counts("corpus_chrf", hypotheses, references);
  Chrf chrf;
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    const auto hypothesis = characters(hypotheses[i]);
    const auto reference = characters(references[i]);
    for (std::size_t n = 0; n < kOrders; ++n) {
      const auto found = sorted_ngrams<kOrders>(hypothesis, n + 1);
      const auto expected = sorted_ngrams<kOrders>(reference, n + 1);
      chrf.hypothesis[n] += expected.empty() ? 0 : static_cast<int64_t>(found.size());
      chrf.reference[n] += static_cast<int64_t>(expected.size());
      chrf.matches[n] += count_common<kOrders>(found, expected);
    }
  }
  chrf.score = score_of(chrf);
  return chrf;
}

}  // namespace evenkeel::examples::translation
