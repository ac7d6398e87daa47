// SPDX-License-Identifier: MIT
#pragma once

#include "fingerprint.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel::examples {

/// Where a source of batches stands.
struct SourceState {
  int64_t epoch = 0;     ///< Epoch of the next batch.
  int64_t position = 0;  ///< Next batch in it.
};

/// What the updates of a run have come to.
struct StepState {
  int64_t updates = 0;        ///< Done so far.
  int64_t tokens = 0;         ///< Target tokens seen.
  double window_loss = 0.0;   ///< Since the last line of the log.
  int64_t window_tokens = 0;  ///< Likewise.
  double lr_scale = 1.0;      ///< Of the learning rate: by going back and by plateaus.
};

/// The best value of a metric.
struct BestValue {
  double value = 0.0;
  std::string of;  ///< What it is a value of, as in "BLEU of 500 sentences".
};

/// What validations have come to.
struct ValidationState {
  int64_t validated = -1;                 ///< Updates done at the last validation.
  int64_t stalled = 0;                    ///< Validations counted since one was better.
  std::optional<double> to_beat;          ///< What is better than that value, of those counted.
  std::map<std::string, BestValue> best;  ///< Of all, by the name of the metric.
  std::string chosen_by;                  ///< What the best model is the best by.
};

/// Where a run stands. Together with model, optimizer and generators it decides what comes.
struct RunState {
  SourceState source;
  StepState step;
  ValidationState validation;
  double seconds = 0.0;       ///< Wall time, however often it was resumed.
  int64_t went_back = 0;      ///< How often it went back to a checkpoint.
  int64_t log_lines = 0;      ///< Lines of the log.
  std::vector<int64_t> kept;  ///< Steps of the checkpoints kept beside the last, oldest first.
  Texts texts;                ///< Those of training and of validation.

  /// JSON, for a checkpoint.
  std::string to_text() const;

  /// Reads `to_text()` back. Throws CheckpointError that names `file` for a value that is missing,
  /// of another type or out of range.
  static RunState from_text(const std::string& text, const std::string& file);
};

}  // namespace evenkeel::examples
