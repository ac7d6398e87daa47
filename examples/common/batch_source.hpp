// SPDX-License-Identifier: MIT
#pragma once

#include "run_state.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::examples {

/// Hands out the batches of a training run, epoch after epoch, and knows where it stands: a run
/// that is resumed gets the batches that the unbroken one would have got.
class BatchSource {
 public:
  /// A batch as the indices of its examples.
  using Indices = std::vector<int64_t>;
  /// The batches of an epoch, from 0, in their order. The same epoch always has the same ones.
  using Order = std::function<std::vector<Indices>(int64_t epoch)>;

  explicit BatchSource(Order order) : order_(std::move(order)) {}

  /// The next batch; the first of the next epoch behind an epoch's last.
  const Indices& next();

  /// Epochs that are over, with the share of the one that is not.
  double epochs();

  /// Where the next batch is.
  const SourceState& state() const { return state_; }

  /// Goes on from there. Throws CheckpointError, which names `file`, for a position that the epoch
  /// does not have.
  void restore(const SourceState& state, const std::string& file);

 private:
  void next_epoch();
  const std::vector<Indices>& batches();

  Order order_;
  SourceState state_;
  std::vector<Indices> batches_;  // of the epoch `loaded_`
  int64_t loaded_ = -1;
};

}  // namespace evenkeel::examples
