// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// A metric of translations against references, one each.
struct TextMetric {
  /// A value, and the line that sacreBLEU prints for it without a signature.
  struct Score {
    double value;
    std::string line;
  };

  const char* name;       ///< As options have it.
  const char* title;      ///< As sacreBLEU has it.
  const char* signature;  ///< sacreBLEU's without its version: the values equal those of sacreBLEU.
  bool lower_is_better;
  Score (*score)(const std::vector<std::string>& hypotheses,
                 const std::vector<std::string>& references);
};

/// BLEU, chrF and TER.
const std::vector<TextMetric>& text_metrics();

/// The metric of that name; nullptr if there is none.
const TextMetric* find_text_metric(const std::string& name);

/// The line of a score with its signature, as sacreBLEU prints it.
std::string with_signature(const TextMetric& metric, const std::string& line);

}  // namespace evenkeel::examples::translation
