// SPDX-License-Identifier: MIT
#pragma once

#include "batches.hpp"
#include "parallel_text.hpp"
#include "vocabulary.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::translation {

/// By which a text is known again, wherever its files are, whatever they are called, however they
/// are compressed.
struct Fingerprint {
  int64_t lines = 0;
  int64_t bytes = 0;
  std::string checksum;  ///< CRC-32 of the lines, each with an LF.

  bool operator==(const Fingerprint& other) const {
    return lines == other.lines && bytes == other.bytes && checksum == other.checksum;
  }
  bool operator!=(const Fingerprint& other) const { return !(*this == other); }
};

/// The fingerprint of lines.
Fingerprint fingerprint(const std::vector<std::string>& lines);

/// What differs, as in "2000 lines (60123 bytes, CRC-32 0af3...), but 1000 lines (...)".
std::string difference(const Fingerprint& before, const Fingerprint& now);

/// Text of one purpose, without the pairs that lack a side, and cut into pieces.
struct Corpus {
  /// Reads the files. Throws TextError.
  Corpus(const std::vector<std::string>& source, const std::vector<std::string>& target);

  /// Fills `pairs`. Of an endless line only as much is encoded as makes it longer than
  /// `max_length`.
  void encode(const Vocabularies& vocabularies, int64_t max_length);

  /// Removes pairs of more than `max_length` pieces on a side, eos included; returns their number.
  int64_t drop_longer_than(int64_t max_length);

  ParallelText text;
  std::vector<Pair> pairs;
};

/// The start of `line` that has the pieces up to `max_length`, and some more where it goes on.
std::string_view enough_of(std::string_view line, int64_t max_length);

}  // namespace evenkeel::translation
