// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::examples {

/// The content of a file in blocks, decompressed where it is gzip.
///
/// Throws TextError for a file that cannot be read; that is compressed by something else, or is
/// UTF-16 or UTF-32 by its mark, which is named; that is named .gz without being gzip; and for gzip
/// that is cut off, damaged or followed by other bytes.
class ByteSource {
 public:
  /// An empty name is standard input.
  explicit ByteSource(const std::string& file);
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  ~ByteSource();

  /// The next block, valid until the next call; empty at the end. `lines_done` is for errors alone.
  std::string_view next(std::size_t lines_done);

  /// Whether `next()` would have to wait for whoever writes to a pipe or a terminal.
  bool waits() const;

  /// As errors have it.
  const std::string& name() const { return name_; }

 private:
  class Inflate;

  bool fill();
  void look_at_the_start();
  [[noreturn]] void fail(const std::string& reason) const;

  std::string name_;
  int descriptor_;
  std::vector<char> input_;
  std::size_t filled_ = 0;
  std::size_t lines_done_ = 0;
  bool begun_ = false;
  std::unique_ptr<Inflate> inflate_;  // where it is gzip
};

}  // namespace evenkeel::examples
