// SPDX-License-Identifier: MIT
#include <evenkeel/core/version.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace evenkeel {
namespace {

TEST(VersionTest, EqualsTheProjects) {
  EXPECT_STREQ(kVersion, EVENKEEL_PROJECT_VERSION);
}

TEST(VersionTest, IsTheSameAsTextAndAsMacros) {
  EXPECT_EQ(fmt::format("{}.{}.{}",
                        EVENKEEL_VERSION_MAJOR,
                        EVENKEEL_VERSION_MINOR,
                        EVENKEEL_VERSION_PATCH),
            kVersion);
  EXPECT_EQ(EVENKEEL_VERSION,
            EVENKEEL_VERSION_MAJOR * 10000 + EVENKEEL_VERSION_MINOR * 100 + EVENKEEL_VERSION_PATCH);
}

}  // namespace
}  // namespace evenkeel
