// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
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

/// The lines of a UTF-8 file, plain or compressed with gzip, as LineReader has them. Throws
/// `TextError` as it does, and for a file that is empty or has a line above its limit.
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

/// Where the first byte lies that is no part of well-formed UTF-8.
std::optional<std::size_t> find_broken_utf8(std::string_view text);

/// The start of `text`: whole characters, of at most so many bytes.
std::string_view utf8_prefix(std::string_view text, std::size_t bytes);

/// Bytes of the white space character with which `text` starts; 0 if it starts with another one.
///
/// White space is as in Python's str.split(): Unicode's, and U+001C to U+001F.
std::size_t leading_space(std::string_view text);

}  // namespace evenkeel::translation
