// SPDX-License-Identifier: MIT
#pragma once

#include "progress.hpp"
#include "run_state.hpp"

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::examples {

/// A number by which models are compared.
struct Metric {
  std::string name;              ///< As in the name of a file: best-NAME.safetensors.
  std::string of;                ///< What it is a value of, as in "BLEU of 500 sentences".
  double value = 0.0;            ///< Of this model.
  bool lower_is_better = false;  ///< Else the higher.
};

/// What a validation has found.
struct ValidationReport {
  double loss = 0.0;                 ///< Negative log-likelihood a token.
  std::vector<Metric> metrics;       ///< At least one. The first decides.
  nlohmann::json entry;              ///< As the log has it.
  std::string line;                  ///< As the terminal has it.
  std::vector<std::string> details;  ///< Lines of the terminal below that, such as samples.
};

/// Validates a model, and knows which was the best and for how long none was better.
class Validator {
 public:
  using Measure = std::function<ValidationReport()>;

  /// An empty function is no validation.
  explicit Validator(Measure measure) : measure_(std::move(measure)) {}

  /// Whether there is something to validate on.
  bool any() const { return static_cast<bool>(measure_); }

  /// Measures the model as it is now.
  ValidationReport measure() const { return measure_(); }

  /// Notes that the model was validated after so many updates.
  void validated(int64_t updates) { state_.validated = updates; }

  /// Returns the metrics by which this model is the best so far, and then remembers their values.
  /// Another metric that decides begins the search anew, which is said; so does, for itself, one
  /// that is of something else than before. What is not finite is never the best.
  std::vector<std::string> compare(const ValidationReport& report, Progress& progress);

  /// Counts a validation whose deciding metric is not better than before by more than `epsilon`. A
  /// validation that is not counted, such as one at the end of a run that may go on, leaves no
  /// trace in what comes.
  void count(const ValidationReport& report, double epsilon);

  /// Begins the search anew, since what it validates on has changed.
  void begin_anew(Progress& progress);

  const ValidationState& state() const { return state_; }

  /// Goes on from there.
  void restore(const ValidationState& state) { state_ = state; }

  /// Goes back to what it had counted then; the best models are still the best.
  void go_back(const ValidationState& state);

 private:
  Measure measure_;
  ValidationState state_;
};

}  // namespace evenkeel::examples
