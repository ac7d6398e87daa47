// SPDX-License-Identifier: MIT
#pragma once

#include "corpus.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel::translation {

/// Where a run stands. Together with model, optimizer and generators it decides what comes.
struct RunState {
  int64_t step = 0;            ///< Updates done.
  int64_t epoch = 0;           ///< Epoch of the next batch.
  int64_t position = 0;        ///< Next batch in it.
  int64_t tokens = 0;          ///< Target tokens seen.
  double seconds = 0.0;        ///< Wall time, however often it was resumed.
  double window_loss = 0.0;    ///< Since the last line of the log.
  int64_t window_tokens = 0;   ///< Likewise.
  double lr_scale = 1.0;       ///< Of the learning rate: halved each time the run went back.
  int64_t went_back = 0;       ///< How often that was.
  int64_t validated = -1;      ///< Updates done at the last validation.
  int64_t log_lines = 0;       ///< Lines of the log.
  std::optional<double> best;  ///< Best validation score, the higher the better.
  std::string best_by;         ///< What that is a score of, as in "BLEU of 500 sentences".
  std::vector<int64_t> kept;   ///< Steps of the checkpoints kept beside the last, oldest first.
  std::map<std::string, Fingerprint> texts;  ///< By option: source, target and validation's.

  /// JSON, for a checkpoint.
  std::string to_text() const;

  /// Reads `to_text()` back. Throws CheckpointError that names `file` for a value that is missing,
  /// of another type or out of range.
  static RunState from_text(const std::string& text, const std::string& file);
};

}  // namespace evenkeel::translation
