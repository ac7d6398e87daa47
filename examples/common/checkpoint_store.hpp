// SPDX-License-Identifier: MIT
#pragma once

#include "checkpoint.hpp"
#include "run_files.hpp"

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace evenkeel::examples {

/// The checkpoints with which a run goes on: the last and some before it; and which it goes back
/// to.
class CheckpointStore {
 public:
  /// Of the last and those before it, `keep_last` are kept.
  CheckpointStore(RunFiles files, int64_t keep_last)
      : files_(std::move(files)), keep_last_(keep_last) {}

  /// Replaces the last checkpoint. The one before gets a name of its own, and the oldest goes; then
  /// `make` makes the new one, of which `kept()` is a part.
  void save_last(int64_t updates, const std::function<Checkpoint()>& make);

  /// The checkpoint that a run goes back to: the last, or, where that has led to no better one, the
  /// one before it.
  Checkpoint load_to_go_back();

  /// Goes on with a run whose last checkpoint is of that update.
  void resume(int64_t updates, std::vector<int64_t> kept);

  /// The update of the last checkpoint; -1 where there is none.
  int64_t saved() const { return saved_; }

  /// The updates of those that are kept beside it, oldest first.
  const std::vector<int64_t>& kept() const { return kept_; }

 private:
  RunFiles files_;
  int64_t keep_last_;
  int64_t saved_ = -1;
  int64_t went_back_to_ = -1;  // the checkpoint to which the run went back last
  std::vector<int64_t> kept_;
};

}  // namespace evenkeel::examples
