// SPDX-License-Identifier: MIT
#pragma once

#include "batches.hpp"
#include "parallel_text.hpp"
#include "vocabularies.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::examples::translation {

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

}  // namespace evenkeel::examples::translation
