// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

namespace evenkeel::translation {

/// Piece numbers of a sentence and its translation, without bos and eos.
struct Pair {
  std::vector<int64_t> source;
  std::vector<int64_t> target;
};

/// Pairs side by side, ready to become tensors; all rows are filled up with `kPad` at their end.
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

/// The pairs of the given indices as a batch, in that order.
///
/// Throws std::invalid_argument without an index and std::out_of_range for one that has no pair.
Batch make_batch(const std::vector<Pair>& pairs, const std::vector<int64_t>& indices);

/// The generator SplitMix64, the same on every machine.
///
/// Paper: Steele et al. 2014, https://doi.org/10.1145/2660193.2660195.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  /// The next of 2^64 numbers.
  uint64_t next();

  /// A number from 0 to bound - 1, all equally likely; bound must be at least 1 (not checked).
  uint64_t below(uint64_t bound);

 private:
  uint64_t state_;
};

/// Options for `BatchSchedule`.
struct BatchOptions {
  /// Upper limit of rows times the longest row of a batch, source or target, pads included.
  int64_t batch_tokens = 4096;
  /// Pairs with a longer row on either side are left out; the eos counts.
  int64_t max_length = 256;
  /// Chooses among the orders.
  uint64_t seed = 1;
};

/// Groups pairs of similar length into batches, each epoch in another way.
///
/// The batches are a function of lengths, options and epoch alone, on every machine: training goes
/// on after a restart where it stopped, given the epoch and the position in it.
class BatchSchedule {
 public:
  /// Throws std::invalid_argument for limits below 1 and if no pair is left.
  BatchSchedule(const std::vector<Pair>& pairs, const BatchOptions& options);

  /// Indices of the pairs of each batch: every pair that was not left out is in one of them.
  ///
  /// A pair longer than `batch_tokens` makes a batch of its own.
  std::vector<std::vector<int64_t>> epoch(int64_t index) const;

  /// Share of pads among the entries of `source` and `target_output` in such batches.
  double padding_share(const std::vector<std::vector<int64_t>>& batches) const;

  /// Pairs in an epoch.
  int64_t size() const { return static_cast<int64_t>(kept_.size()); }

  /// Pairs that were left out for their length.
  int64_t too_long() const { return static_cast<int64_t>(lengths_.size()) - size(); }

 private:
  struct Lengths {  // of the rows
    int64_t source;
    int64_t target;
  };

  BatchOptions options_;
  std::vector<Lengths> lengths_;
  std::vector<int64_t> kept_;
};

}  // namespace evenkeel::translation
