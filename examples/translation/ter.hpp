// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// TER of a corpus, and what it is computed from.
struct Ter {
  /// In percent: 0 is best, and above 100 is possible.
  double score = 0.0;
  /// Insertions, deletions and substitutions of words and shifts of sequences of them.
  int64_t edits = 0;
  /// Words in all references.
  int64_t reference_length = 0;
};

/// Translation edit rate with one reference per hypothesis: edits / words of the references. Text
/// is in lower case and cut at white space. The edits of a sentence are not the fewest possible:
/// the shift that saves most is made, again and again, as long as one saves any.
///
/// Equal to sacreBLEU 2 with signature nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no:
/// shifts are of at most 10 words over at most 50, a sentence has at most 1000 candidates for one,
/// and the edit distance is looked for at most 25 words off the diagonal. Text must be UTF-8.
/// Throws std::invalid_argument if the two counts differ or are zero. Paper: Snover et al. 2006,
/// https://aclanthology.org/2006.amta-papers.25.
Ter corpus_ter(const std::vector<std::string>& hypotheses,
               const std::vector<std::string>& references);

}  // namespace evenkeel::examples::translation
