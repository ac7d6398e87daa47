// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::translation {

/// An invalid text file; the message starts with the file and, if it applies, the line, as in
/// `train.de.gz:17: broken UTF-8 ...`.
class TextError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Sentences and their translations: `target[i]` translates `source[i]`.
struct ParallelText {
  std::vector<std::string> source;
  std::vector<std::string> target;
};

/// Returns the lines of a UTF-8 file, plain or compressed with gzip, without line ends.
///
/// Only LF and CRLF end a line (not U+2028 or a single CR); the last line need not end in one. A
/// byte order mark at the start is removed. Empty lines are kept. Throws `TextError` for a file
/// that is missing, empty, truncated, damaged, or named .gz without being gzip, and for invalid
/// UTF-8: stray or missing bytes, overlong forms, surrogates and values above U+10FFFF.
std::vector<std::string> read_lines(const std::string& file);

/// Reads and concatenates pairs of files with equal numbers of lines, `source_files[i]` and
/// `target_files[i]`.
///
/// Throws `TextError` as `read_lines` does, and if the two sides differ in the number of files or
/// lines.
ParallelText read_parallel(const std::vector<std::string>& source_files,
                           const std::vector<std::string>& target_files);

/// Removes the pairs of which a side is empty or only white space; returns their number.
int64_t drop_empty_pairs(ParallelText& text);

/// Number of bytes of the white space character at the start of `text`; 0 if there is none.
///
/// White space is as in Python's str.split(): Unicode's, and U+001C to U+001F.
std::size_t leading_space(std::string_view text);

}  // namespace evenkeel::translation
