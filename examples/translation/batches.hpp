// SPDX-License-Identifier: MIT
#pragma once

#include "batch_shapes.hpp"

#include <cstdint>
#include <vector>

namespace evenkeel::examples {
class SplitMix64;
}

namespace evenkeel::examples::translation {

/// Piece ids of a sentence and its translation, without bos and eos.
struct Pair {
  std::vector<int64_t> source;
  std::vector<int64_t> target;
};

/// A batch of pairs; rows are padded with `kPad` on the right.
struct Batch {
  /// Rows.
  int64_t sentences = 0;
  /// Columns of `source`.
  int64_t source_length = 0;
  /// Columns of `target_input` and `target_output`.
  int64_t target_length = 0;
  /// (sentences, source_length), row by row: source, eos
  std::vector<int64_t> source;
  /// (sentences, target_length), row by row: bos, target
  std::vector<int64_t> target_input;
  /// (sentences, target_length), row by row: target, eos
  std::vector<int64_t> target_output;
  /// Entries of `source` that are not `kPad`.
  int64_t source_tokens = 0;
  /// Entries of `target_output` that are not `kPad`.
  int64_t target_tokens = 0;
};

/// The pairs of the given indices as a batch, in that order. It has at least the rows and columns
/// of `least`; rows that are added have an eos as source, and nothing to predict.
///
/// Throws std::invalid_argument if there are no indices, and std::out_of_range for an index without
/// a pair.
Batch make_batch(const std::vector<Pair>& pairs,
                 const std::vector<int64_t>& indices,
                 const BatchShape& least = {});

/// Counts the padding of batches.
class PaddingCount {
 public:
  void add(const Batch& batch);

  /// Share of padding among the entries of `source` and `target_output` of the batches since the
  /// last call; 0 where there are none.
  double take();

 private:
  int64_t entries_ = 0;
  int64_t tokens_ = 0;
};

/// Options for `BatchSchedule`.
struct BatchOptions {
  /// Upper limit of rows times the longest row of a batch, source or target, including padding.
  int64_t batch_tokens = 4096;
  /// Pairs with a longer row on either side, including eos, are skipped.
  int64_t max_length = 256;
  /// Seed of the order.
  uint64_t seed = 1;
  /// Most shapes that batches have, which are padded to one of them; 0: each has its own.
  int64_t shapes = 0;
};

/// Groups pairs of similar length into batches, differently in each epoch.
///
/// The batches depend only on lengths, options and epoch, on every machine. Training can therefore
/// resume from an epoch and a position in it.
class BatchSchedule {
 public:
  /// Throws std::invalid_argument for limits below 1, or if all pairs are skipped.
  BatchSchedule(const std::vector<Pair>& pairs, const BatchOptions& options);

  /// Returns the indices of the pairs of each batch. Every pair that is not skipped is in one
  /// batch.
  ///
  /// A pair longer than `batch_tokens` is a separate batch.
  std::vector<std::vector<int64_t>> epoch(int64_t index) const;

  /// The least shape of a batch of these indices, for `make_batch()`: one of `shapes()`, or none.
  BatchShape shape_of(const std::vector<int64_t>& indices) const;

  /// The shapes to which batches are padded; none if each has its own.
  const std::vector<BatchShape>& shapes() const { return shapes_; }

  /// Share of padding among the entries of `source` and `target_output` of these batches.
  double padding_share(const std::vector<std::vector<int64_t>>& batches) const;

  /// Number of pairs in an epoch.
  int64_t size() const { return static_cast<int64_t>(kept_.size()); }

  /// Number of pairs that are skipped because of their length.
  int64_t too_long() const { return static_cast<int64_t>(lengths_.size()) - size(); }

 private:
  RowLengths longest(const std::vector<int64_t>& indices) const;
  std::vector<std::vector<int64_t>> batches_as_they_come(SplitMix64& random) const;
  std::vector<std::vector<int64_t>> batches_of_shapes(SplitMix64& random) const;

  BatchOptions options_;
  std::vector<RowLengths> lengths_;
  std::vector<int64_t> kept_;
  std::vector<BatchShape> shapes_;
};

}  // namespace evenkeel::examples::translation
