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

/// What a validation has found.
struct ValidationReport {
  double loss = 0.0;                 ///< Negative log-likelihood a token.
  double score = 0.0;                ///< The higher the better.
  std::string score_of;              ///< What `score` is, as in "BLEU of 500 sentences" or "loss".
  nlohmann::json entry;              ///< As the log has it.
  std::string line;                  ///< As the terminal has it.
  std::vector<std::string> details;  ///< Lines of the terminal below that, such as samples.
};

/// Validates a model, and knows which was the best.
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

  /// Returns whether this is the best so far, and then remembers its score. A score of another kind
  /// than before begins the search anew, which is said. What is not finite is never the best.
  bool is_best(const ValidationReport& report, Progress& progress);

  /// Begins the search anew, since what it validates on has changed.
  void begin_anew(Progress& progress);

  const ValidationState& state() const { return state_; }

  /// Goes on from there.
  void restore(const ValidationState& state) { state_ = state; }

  /// Goes back to when it was validated last then; the best model is still the best.
  void go_back(const ValidationState& state) { state_.validated = state.validated; }

 private:
  Measure measure_;
  ValidationState state_;
};

}  // namespace evenkeel::examples
