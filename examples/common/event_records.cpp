// SPDX-License-Identifier: MIT
#include "event_records.hpp"

#include <array>
#include <cstddef>
#include <cstring>

namespace evenkeel::examples {

namespace {

constexpr std::array<uint32_t, 256> crc32c_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ ((value & 1U) != 0 ? 0x82F63B78U : 0U);
    table[i] = value;
  }
  return table;
}

// The lowest bytes of a number, the lowest first.
std::string little_endian(uint64_t number, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(number >> (8 * i) & 0xFFU);
  return text;
}

std::string checksum_of(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return little_endian((crc >> 15 | crc << 17) + 0xA282EAD8U, 4);
}

std::string record(const std::string& event) {
  const auto length = little_endian(event.size(), 8);
  return length + checksum_of(length) + event + checksum_of(event);
}

std::string varint(uint64_t number) {
  std::string text;
  for (; number >= 0x80; number >>= 7) text += static_cast<char>((number & 0x7FU) | 0x80U);
  return text + static_cast<char>(number);
}

// Fields of protocol buffers, by their number.

template <typename Float, typename Bits>
std::string real(uint64_t field, Float value) {
  static_assert(sizeof(Float) == sizeof(Bits), "pass an integer of the same size");
  Bits bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  const uint64_t type = sizeof bits == 8 ? 1 : 5;
  return varint(field << 3U | type) + little_endian(bits, sizeof bits);
}

std::string integer(uint64_t field, int64_t value) {
  return varint(field << 3U) + varint(static_cast<uint64_t>(value));
}

std::string bytes(uint64_t field, const std::string& value) {
  return varint(field << 3U | 2U) + varint(value.size()) + value;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = crc32c_table();
  uint32_t value = ~0U;
  for (const char c : bytes)
    value = kTable[(value ^ static_cast<unsigned char>(c)) & 0xFFU] ^ value >> 8;
  return ~value;
}

std::string event_file_header(double wall_time) {
  return record(real<double, uint64_t>(1, wall_time) + bytes(3, "brain.Event:2"));
}

std::string scalars_record(double wall_time,
                           int64_t step,
                           const std::vector<std::pair<std::string, double>>& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    summary += bytes(1, bytes(1, tag) + real<float, uint32_t>(2, static_cast<float>(value)));
  }
  return record(real<double, uint64_t>(1, wall_time) + integer(2, step) + bytes(5, summary));
}

}  // namespace evenkeel::examples
