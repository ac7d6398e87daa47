// SPDX-License-Identifier: MIT
#include "validator.hpp"

#include <fmt/format.h>

#include <cmath>

namespace evenkeel::examples {

namespace {

// By how much a metric is better than that value.
double gain(const Metric& metric, double before) {
  return metric.lower_is_better ? before - metric.value : metric.value - before;
}

}  // namespace

std::vector<std::string> Validator::compare(const ValidationReport& report, Progress& progress) {
  const auto& decides = report.metrics.front();
  if (!state_.chosen_by.empty() && state_.chosen_by != decides.of) {
    progress.line(fmt::format("the best model was chosen by {}; the search starts again, by {}",
                              state_.chosen_by,
                              decides.of));
    const auto validated = state_.validated;
    state_ = {};
    state_.validated = validated;
  }
  state_.chosen_by = decides.of;
  if (!std::isfinite(report.loss)) {
    progress.line("the validation loss is not finite: this model cannot be the best");
    return {};
  }
  std::vector<std::string> better;
  for (const auto& metric : report.metrics) {
    if (!std::isfinite(metric.value)) continue;
    const auto best = state_.best.find(metric.name);
    const bool comparable = best != state_.best.end() && best->second.of == metric.of;
    if (comparable && gain(metric, best->second.value) <= 0.0) continue;
    state_.best[metric.name] = {metric.value, metric.of};
    better.push_back(metric.name);
  }
  return better;
}

void Validator::count(const ValidationReport& report, double epsilon) {
  const auto& decides = report.metrics.front();
  const bool finite = std::isfinite(report.loss) && std::isfinite(decides.value);
  if (finite && (!state_.to_beat || gain(decides, *state_.to_beat) > epsilon)) {
    state_.to_beat = decides.value;
    state_.stalled = 0;
  } else {
    ++state_.stalled;
  }
}

void Validator::begin_anew(Progress& progress) {
  if (!state_.best.empty()) {
    progress.line("the validation text has changed: the search for the best model starts again");
  }
  state_ = {};
}

void Validator::go_back(const ValidationState& state) {
  state_.validated = state.validated;
  state_.stalled = state.stalled;
  state_.to_beat = state.to_beat;
}

}  // namespace evenkeel::examples
