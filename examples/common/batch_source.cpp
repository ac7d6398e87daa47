// SPDX-License-Identifier: MIT
#include "batch_source.hpp"

#include "checkpoint.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <utility>

namespace evenkeel::examples {

const BatchSource::Indices& BatchSource::next() {
  while (state_.position >= static_cast<int64_t>(batches().size())) next_epoch();
  return batches_[static_cast<size_t>(state_.position++)];
}

double BatchSource::epochs() {
  const auto count = static_cast<double>(batches().size());
  return static_cast<double>(state_.epoch) +
         (count > 0.0 ? static_cast<double>(state_.position) / count : 0.0);
}

void BatchSource::restore(const SourceState& state, const std::string& file) {
  const auto before = std::exchange(state_, state);
  const auto count = static_cast<int64_t>(batches().size());
  if (state.position <= count) return;
  state_ = before;
  throw CheckpointError(
      fmt::format("{}: expected a position from 0 to {}, the batches of an epoch, but got {}",
                  file,
                  count,
                  state.position));
}

void BatchSource::next_epoch() {
  ++state_.epoch;
  state_.position = 0;
}

const std::vector<BatchSource::Indices>& BatchSource::batches() {
  if (loaded_ != state_.epoch) {
    batches_ = order_(state_.epoch);
    loaded_ = state_.epoch;
  }
  return batches_;
}

}  // namespace evenkeel::examples
