// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace evenkeel::examples {

/// CRC-32, as zlib and Python's `zlib.crc32` have it.
class Checksum {
 public:
  /// Takes bytes in.
  Checksum& add(const void* bytes, std::size_t size);
  Checksum& add(const std::string& text) { return add(text.data(), text.size()); }

  /// Eight hexadecimal digits.
  std::string hex() const;

 private:
  uint32_t value_ = 0;
};

}  // namespace evenkeel::examples
