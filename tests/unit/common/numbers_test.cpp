// SPDX-License-Identifier: MIT
#include "common/numbers.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>

namespace evenkeel::examples {
namespace {

TEST(NumbersTest, IntegersAreReadAsAPersonReadsThem) {
  EXPECT_EQ(parse_integer("0"), 0);
  EXPECT_EQ(parse_integer("-12"), -12);
  EXPECT_EQ(parse_integer("+12"), 12);
  EXPECT_EQ(parse_integer("010"), 10);
  EXPECT_EQ(parse_integer("9223372036854775807"), std::numeric_limits<int64_t>::max());
}

TEST(NumbersTest, WhatIsNoIntegerOrDoesNotFitIsRefused) {
  for (const char* text : {"",
                           "-",
                           "+",
                           "+-1",
                           "9223372036854775808",
                           "99999999999999999999",
                           "1.5",
                           "1e3",
                           "0x10",
                           "1 ",
                           " 1",
                           "1k",
                           "eins"}) {
    EXPECT_EQ(parse_integer(text), std::nullopt) << text;
  }
}

TEST(NumbersTest, RealNumbersAreReadToTheirEnd) {
  EXPECT_EQ(parse_real("1e-3"), 1e-3);
  EXPECT_EQ(parse_real("+.5"), 0.5);
  EXPECT_EQ(parse_real("-2"), -2.0);
  for (const char* text : {"", "nan", "inf", "-inf", "1e999", "1,5", "1.5x", "0.5 "}) {
    EXPECT_EQ(parse_real(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace evenkeel::examples
