// SPDX-License-Identifier: MIT
#include <evenkeel/core/nearest.hpp>

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

TEST(NearestTest, CountsLettersToInsertRemoveOrReplace) {
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("abc", ""), 3U);
  EXPECT_EQ(edit_distance("same", "same"), 0U);
}

TEST(NearestTest, IsTheFirstOfTheLeastDistance) {
  EXPECT_EQ(nearest("tfixpu", {"post", "tfixup", "admin"}), "tfixup");
  EXPECT_EQ(nearest("x", {"a", "b"}), "a");
  EXPECT_EQ(nearest("x", {}), "");
}

}  // namespace
}  // namespace evenkeel
