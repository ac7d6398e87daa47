// SPDX-License-Identifier: MIT
#include "common/random.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace evenkeel::examples {
namespace {

TEST(SplitMix64Test, GivesThePublishedNumbers) {
  // https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64
  SplitMix64 random(1234567);
  for (const uint64_t expected : {6457827717110365317U,
                                  3203168211198807973U,
                                  9817491932198370423U,
                                  4593380528125082431U,
                                  16408922859458223821U}) {
    EXPECT_EQ(random.next(), expected);
  }
}

TEST(SplitMix64Test, DrawsAllNumbersBelowABoundAlikeOften) {
  SplitMix64 random(3);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) {
    ++counts.at(random.below(7));
  }
  for (const auto count : counts) {
    EXPECT_NEAR(count, 10000, 500);  // five standard deviations
  }
}

TEST(SplitMix64Test, DoesNotPreferSmallNumbersBelowALargeBound) {
  const uint64_t quarter = uint64_t{1} << 62;
  SplitMix64 random(3);
  int small = 0;
  for (int i = 0; i < 30000; ++i) {
    small += random.below(3 * quarter) < quarter ? 1 : 0;
  }
  EXPECT_NEAR(small, 10000, 500);  // 15000 for the plain remainder
}

TEST(SplitMix64Test, DrawsNothingElseThanZeroBelowOne) {
  SplitMix64 random(3);
  EXPECT_EQ(random.below(1), 0U);
}

}  // namespace
}  // namespace evenkeel::examples
