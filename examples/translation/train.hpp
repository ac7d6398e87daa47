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

/// Trains as the config has it, in the folder `run_dir`:
///
///     config.json          the config, everything filled in
///     vocabulary.model     SentencePiece's
///     log.jsonl            one JSON object a line: training, validation, end
///     last.safetensors     all that is needed to go on exactly
///     best.safetensors     the model with the best validation so far
///
/// SIGINT and SIGTERM save and leave. With `resume` the run goes on from last.safetensors; on the
/// CPU its losses equal those of an unbroken run bit for bit.
Ending train(const Config& config, bool resume);

}  // namespace evenkeel::translation
