// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::examples {

/// An invalid text file; the message starts with the file and, if it applies, the line, as in
/// `train.de.gz:17: broken UTF-8 ...`.
class TextError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The lines of a UTF-8 file, plain or compressed with gzip, as LineReader has them; `-` is
/// standard input. Throws `TextError` as it does, and for a file that is empty or has a line above
/// its limit.
std::vector<std::string> read_lines(const std::string& file);

/// Where the first byte lies that is no part of well-formed UTF-8.
std::optional<std::size_t> find_broken_utf8(std::string_view text);

/// `text` with U+FFFD in place of every byte that is no part of well-formed UTF-8.
std::string as_utf8(std::string text);

/// The start of `text`: whole characters, of at most so many bytes.
std::string_view utf8_prefix(std::string_view text, std::size_t bytes);

/// Bytes of the white space character with which `text` starts; 0 if it starts with another one.
///
/// White space is as in Python's str.split(): Unicode's, and U+001C to U+001F.
std::size_t leading_space(std::string_view text);

}  // namespace evenkeel::examples
