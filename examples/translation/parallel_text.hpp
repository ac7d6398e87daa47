// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// Sentences and their translations: `target[i]` translates `source[i]`.
struct ParallelText {
  std::vector<std::string> source;
  std::vector<std::string> target;
};

/// Reads and concatenates pairs of files with equal numbers of lines, `source_files[i]` and
/// `target_files[i]`. Without target files, each line of a source file has both sides, with a tab
/// between.
///
/// Throws `TextError` as `read_lines` does, if the two sides differ in the number of files or
/// lines, and for a line without one tab where there have to be tabs.
ParallelText read_parallel(const std::vector<std::string>& source_files,
                           const std::vector<std::string>& target_files);

/// Removes the pairs of which a side is empty or only white space; returns their number.
int64_t drop_empty_pairs(ParallelText& text);

}  // namespace evenkeel::examples::translation
