// SPDX-License-Identifier: MIT
#include "validator.hpp"

#include <fmt/format.h>

#include <cmath>

namespace evenkeel::examples {

bool Validator::is_best(const ValidationReport& report, Progress& progress) {
  if (!std::isfinite(report.loss)) {
    progress.line("the validation loss is not finite: this model cannot be the best");
    return false;
  }
  if (state_.best && state_.best_by != report.score_of) {
    progress.line(fmt::format("the best model was chosen by {}; the search starts again, by {}",
                              state_.best_by,
                              report.score_of));
    state_.best.reset();
  }
  if (!std::isfinite(report.score) || (state_.best && report.score <= *state_.best)) return false;
  state_.best = report.score;
  state_.best_by = report.score_of;
  return true;
}

void Validator::begin_anew(Progress& progress) {
  state_.validated = -1;
  if (!state_.best) return;
  progress.line("the validation text has changed: the search for the best model starts again");
  state_.best.reset();
}

}  // namespace evenkeel::examples
