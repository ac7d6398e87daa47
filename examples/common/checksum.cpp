// SPDX-License-Identifier: MIT
#include "checksum.hpp"

#include <zlib.h>

namespace evenkeel::examples {

Checksum& Checksum::add(const void* bytes, std::size_t size) {
  value_ = static_cast<uint32_t>(crc32_z(value_, static_cast<const Bytef*>(bytes), size));
  return *this;
}

std::string Checksum::hex() const {
  std::string digits;
  for (int shift = 28; shift >= 0; shift -= 4) digits += "0123456789abcdef"[value_ >> shift & 15U];
  return digits;
}

}  // namespace evenkeel::examples
