// SPDX-License-Identifier: MIT
#include <evenkeel/evenkeel.hpp>

#include "link.hpp"

#include <gtest/gtest.h>

namespace evenkeel::test {

// Each unit uses functions that are not templates, so both hold a copy of every one of them.
TEST(LinkTest, TwoUnitsThatIncludeEverythingShareOneCopyOfEachFunction) {
  EXPECT_EQ(first_unit_functions(), second_unit_functions());
}

std::vector<const void*> first_unit_functions() {
  return addresses_of_functions();
}

}  // namespace evenkeel::test
