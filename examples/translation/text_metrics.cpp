// SPDX-License-Identifier: MIT
#include "text_metrics.hpp"

#include "bleu.hpp"
#include "chrf.hpp"
#include "ter.hpp"

#include <iomanip>
#include <locale>
#include <sstream>

namespace evenkeel::examples::translation {

namespace {

using Texts = std::vector<std::string>;

TextMetric::Score scored(const char* title, double value) {
  std::ostringstream line;
  line.imbue(std::locale::classic());
  line << title << " = " << std::fixed << std::setprecision(2) << value;
  return {value, line.str()};
}

TextMetric::Score bleu(const Texts& hypotheses, const Texts& references) {
  const auto found = corpus_bleu(hypotheses, references);
  return {found.score, to_string(found)};
}

TextMetric::Score chrf(const Texts& hypotheses, const Texts& references) {
  return scored("chrF2", corpus_chrf(hypotheses, references).score);
}

TextMetric::Score ter(const Texts& hypotheses, const Texts& references) {
  return scored("TER", corpus_ter(hypotheses, references).score);
}

}  // namespace

const std::vector<TextMetric>& text_metrics() {
  static const std::vector<TextMetric> metrics{
      {"bleu", "BLEU", "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp", false, bleu},
      {"chrf", "chrF2", "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no", false, chrf},
      {"ter", "TER", "nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no", true, ter}};
  return metrics;
}

const TextMetric* find_text_metric(const std::string& name) {
  for (const auto& metric : text_metrics()) {
    if (metric.name == name) {
      return &metric;
    }
  }
  return nullptr;
}

std::string with_signature(const TextMetric& metric, const std::string& line) {
  const std::string title = metric.title;
  return title + "|" + metric.signature + line.substr(title.size());
}

}  // namespace evenkeel::examples::translation
