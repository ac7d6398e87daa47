// SPDX-License-Identifier: MIT
#include "common/event_records.hpp"

#include <gtest/gtest.h>

#include <string>

namespace evenkeel::examples {
namespace {

// RFC 3720, B.4: 32 bytes of zeros, of ones, and ascending ones; and the usual check value.
TEST(Crc32cTest, HasThePublishedValues) {
  std::string ascending;
  for (int i = 0; i < 32; ++i) ascending += static_cast<char>(i);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
  EXPECT_EQ(crc32c(ascending), 0x46DD794EU);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(""), 0U);
}

TEST(EventRecordsTest, AreLengthEventAndChecksums) {
  using namespace std::string_literals;
  const auto record = scalars_record(1.5, 300, {{"a", 2.0}});
  const auto event =
      "\x09\0\0\0\0\0\0\xF8\x3F"s  // field 1, wall_time: 1.5
      "\x10\xAC\x02"s              // field 2, step: 300
      "\x2A\x0A\x0A\x08"s          // field 5, a summary with one value
      "\x0A\x01"
      "a\x15\0\0\0\x40"s;  // tag and simple_value: 2
  EXPECT_EQ(record.substr(0, 8), "\x18\0\0\0\0\0\0\0"s);
  EXPECT_EQ(record.substr(12, event.size()), event);
  EXPECT_EQ(record.size(), 8 + 4 + event.size() + 4);
}

}  // namespace
}  // namespace evenkeel::examples
