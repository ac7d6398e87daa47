// SPDX-License-Identifier: MIT
#pragma once

#include "checkpoint.hpp"
#include "run_files.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace evenkeel::examples {

/// Which checkpoints are kept, and how often they come.
struct StoreOptions {
  int64_t save_every = 1000;   ///< Updates from one to the next.
  double save_minutes = 10.0;  ///< Minutes from one to the next; 0 for no limit.
  int64_t keep_last = 2;       ///< The last and those before it.
};

/// The checkpoints of a run: the last, some before it, the best; and which one a run goes back to.
class CheckpointStore {
 public:
  CheckpointStore(RunFiles files, const StoreOptions& options)
      : files_(std::move(files)), options_(options) {}

  /// Whether it is time for the next one.
  bool due(int64_t updates) const;

  /// Replaces the last checkpoint. The one before gets a name of its own, and the oldest goes; then
  /// `make` makes the new one, of which `kept()` is a part.
  void save_last(int64_t updates, const std::function<Checkpoint()>& make);

  /// Replaces the best one.
  void save_best(const Checkpoint& checkpoint) const;

  /// The checkpoint that a run goes back to: the last, or, where that has led to no better one, the
  /// one before it.
  Checkpoint load_to_go_back();

  /// Goes on with a run whose last checkpoint is of that update.
  void resume(int64_t updates, std::vector<int64_t> kept);

  /// The minutes to the next checkpoint count from now.
  void begin() { saved_at_ = std::chrono::steady_clock::now(); }

  /// The update of the last checkpoint; -1 where there is none.
  int64_t saved() const { return saved_; }

  /// The updates of those that are kept beside it, oldest first.
  const std::vector<int64_t>& kept() const { return kept_; }

 private:
  RunFiles files_;
  StoreOptions options_;
  int64_t saved_ = -1;
  int64_t went_back_to_ = -1;  // the checkpoint to which the run went back last
  std::vector<int64_t> kept_;
  std::chrono::steady_clock::time_point saved_at_ = std::chrono::steady_clock::now();
};

}  // namespace evenkeel::examples
