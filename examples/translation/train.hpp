// SPDX-License-Identifier: MIT
#pragma once

#include "config.hpp"

namespace evenkeel::translation {

/// Why a training run ended.
enum class Ending { kFinished, kTime, kStopped, kDiverged };

constexpr const char* to_string(Ending ending) {
  switch (ending) {
    case Ending::kFinished:
      return "finished";
    case Ending::kTime:
      return "time";
    case Ending::kStopped:
      return "stopped";
    case Ending::kDiverged:
      return "diverged";
  }
  return "?";
}

/// Trains with the settings of `config` in the folder `run_dir`:
///
///     config.json          the config, with all defaults filled in
///     vocabulary.model     the SentencePiece model
///     log.jsonl            one JSON object per line: training, validation, end
///     last.safetensors     everything that is needed to resume exactly
///     best.safetensors     the model with the best validation so far
///
/// SIGINT and SIGTERM save a checkpoint and stop the run. With `resume`, it continues from
/// last.safetensors; on the CPU its losses equal those of an uninterrupted run bit for bit.
Ending train(const Config& config, bool resume);

}  // namespace evenkeel::translation
