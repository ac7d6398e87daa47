// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::examples::translation {

/// BLEU of a corpus, and the statistics from which it is computed; index n - 1 is for n-grams.
struct Bleu {
  /// 0 to 100.
  double score = 0.0;
  /// Percentage of the hypotheses' n-grams that are in their reference, smoothed if none is.
  std::array<double, 4> precisions{};
  /// exp(1 - reference_length / hypothesis_length) for short hypotheses, otherwise 1.
  double brevity_penalty = 1.0;
  /// Tokens in all hypotheses.
  int64_t hypothesis_length = 0;
  /// Tokens in all references.
  int64_t reference_length = 0;
  /// N-grams found, each counted at most as often as it occurs in the reference.
  std::array<int64_t, 4> counts{};
  /// N-grams in all hypotheses.
  std::array<int64_t, 4> totals{};
};

/// Tokenizes as mteval-v13a and sacreBLEU's `13a` do; tokens are separated by one space.
std::string tokenize_13a(std::string_view line);

/// BLEU with one reference per hypothesis:
///
///     score = brevity_penalty * exp(mean of log precisions[n - 1], n = 1..4)
///
/// Equal to sacreBLEU 2 with signature nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp: the k-th order
/// without a match counts 1 / 2^k matches. Text must be UTF-8, not tokenized. Throws
/// std::invalid_argument if the two counts differ or are zero.
/// Papers: Papineni et al. 2002, https://aclanthology.org/P02-1040; Post 2018,
/// https://arxiv.org/abs/1804.08771.
Bleu corpus_bleu(const std::vector<std::string>& hypotheses,
                 const std::vector<std::string>& references);

/// Formats the result as sacreBLEU does: `BLEU = 21.34 55.1/28.0/16.2/10.1 (BP = 0.998 ratio =
/// 0.998 hyp_len = ...)`.
std::string to_string(const Bleu& bleu);

}  // namespace evenkeel::examples::translation
