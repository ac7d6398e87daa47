// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

namespace evenkeel::examples::language_model {

/// Tokens of documents that are joined, cut into sequences of equal length: no sequence is padded,
/// and all but the last few tokens are used.
class PackedText {
 public:
  /// Throws std::invalid_argument for a length below 1.
  PackedText(const std::vector<int64_t>& tokens, int64_t length);

  /// Tokens that a sequence predicts.
  int64_t length() const { return length_; }

  /// Number of sequences.
  int64_t size() const;

  /// Number of tokens.
  int64_t tokens() const { return static_cast<int64_t>(tokens_.size()); }

  /// The tokens of the sequences, row by row, each of `length() + 1`: a token is input and, one
  /// place further, what is to be predicted. The last token of a sequence is the first of the next.
  /// Throws std::out_of_range for a sequence that there is not.
  std::vector<int64_t> rows(const std::vector<int64_t>& sequences) const;

  /// The batches of an epoch: all sequences in another order each time, which depends on seed and
  /// epoch alone, on every machine. The last batch may be smaller.
  std::vector<std::vector<int64_t>> epoch(int64_t index, int64_t batch_size, uint64_t seed) const;

 private:
  std::vector<int32_t> tokens_;
  int64_t length_;
};

}  // namespace evenkeel::examples::language_model
