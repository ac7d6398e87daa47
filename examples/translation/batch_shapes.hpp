// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

namespace evenkeel::examples::translation {

/// Entries of the rows of a pair, with bos or eos.
struct RowLengths {
  int64_t source;
  int64_t target;
};

/// The least rows and columns of a batch; what no pair fills is padding.
struct BatchShape {
  int64_t rows = 0;
  int64_t source_length = 0;
  int64_t target_length = 0;

  bool holds(const RowLengths& lengths) const {
    return lengths.source <= source_length && lengths.target <= target_length;
  }
  bool holds(const BatchShape& other) const {
    return holds(RowLengths{other.source_length, other.target_length});
  }
  /// Entries of a row and its translation.
  int64_t entries() const { return source_length + target_length; }
};

/// At most `count` shapes into which pairs of these lengths fit with little padding, from small to
/// large; the last one holds all pairs. Each has as many rows as fit into `batch_tokens` by its
/// longer side. A text of few batches gets fewer.
std::vector<BatchShape> choose_shapes(const std::vector<RowLengths>& pairs,
                                      int64_t count,
                                      int64_t batch_tokens);

}  // namespace evenkeel::examples::translation
