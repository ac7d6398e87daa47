// SPDX-License-Identifier: MIT
#pragma once

#include "byte_source.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace evenkeel::examples {

/// The lines of UTF-8 text, one by one, from a file or standard input.
///
/// Only LF and CRLF end a line (not U+2028 or a lone CR); the last line may lack its end. A byte
/// order mark at the start is left out. Empty lines are lines. Throws TextError as ByteSource does,
/// and for a line with a NUL or with UTF-8 that is broken: stray or missing bytes, overlong forms,
/// surrogates and values above U+10FFFF.
class LineReader {
 public:
  /// What is kept of a line, in bytes.
  static constexpr std::size_t kLimit = std::size_t{1} << 24U;

  /// An empty name is standard input.
  explicit LineReader(const std::string& file) : source_(file) {}

  /// Reads the next line; false at the end.
  bool next(std::string& line);

  /// Whether the line read last was longer than `kLimit`, and cut there.
  bool cut() const { return cut_; }

  /// Lines read so far.
  std::size_t count() const { return count_; }

  /// Whether the next line has not yet arrived, from a pipe or a terminal.
  bool waits() const;

 private:
  bool read(std::string& line);

  ByteSource source_;
  std::string_view block_;  // what is left of the last one
  std::size_t count_ = 0;
  bool cut_ = false;
  bool ended_ = false;
};

}  // namespace evenkeel::examples
