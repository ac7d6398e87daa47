// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::translation {

/// A text file that cannot be used; the message starts with the file and, where there is one, the
/// line, as in `train.de.gz:17: broken UTF-8 ...`.
class TextError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Sentences and their translations: `target[i]` translates `source[i]`.
struct ParallelText {
  std::vector<std::string> source;
  std::vector<std::string> target;
};

/// The lines of a UTF-8 file, plain or compressed with gzip, without their line ends.
///
/// Only LF and CRLF end a line (not U+2028 or a lone CR); the last line may lack its end. A byte
/// order mark at the start is left out. Empty lines are kept. Throws `TextError` for a file that is
/// missing, empty, cut off, damaged, or named .gz without being gzip, and for UTF-8 that is broken:
/// stray or missing bytes, overlong forms, surrogates and values above U+10FFFF.
std::vector<std::string> read_lines(const std::string& file);

/// Reads files of equally many lines, `source_files[i]` beside `target_files[i]`, one after
/// another.
///
/// Throws `TextError` as `read_lines` does, and where the two sides differ in files or lines.
ParallelText read_parallel(const std::vector<std::string>& source_files,
                           const std::vector<std::string>& target_files);

/// Removes the pairs in which a side is empty or holds white space alone; returns their number.
int64_t drop_empty_pairs(ParallelText& text);

/// Bytes of the white space character with which `text` starts; 0 if it starts with another one.
///
/// White space is what Python's str.split() takes for it: Unicode's, and U+001C to U+001F.
std::size_t leading_space(std::string_view text);

}  // namespace evenkeel::translation
