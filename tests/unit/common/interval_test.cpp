// SPDX-License-Identifier: MIT
#include "common/interval.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace evenkeel::examples {
namespace {

TEST(RecurringTest, IsDueAtMultiplesOfUpdates) {
  Recurring every_ten({10, 0, 0.0});
  EXPECT_FALSE(every_ten.due(9, 5));
  EXPECT_TRUE(every_ten.due(10, 5));
  EXPECT_TRUE(every_ten.due(11, 5));
  every_ten.begin(11, 5);  // late
  EXPECT_FALSE(every_ten.due(19, 5));
  EXPECT_TRUE(every_ten.due(20, 5));
}

TEST(RecurringTest, IsDueAtMultiplesOfEpochs) {
  Recurring every_two({0, 2, 0.0});
  EXPECT_FALSE(every_two.due(1000, 1));
  EXPECT_TRUE(every_two.due(1000, 2));
  every_two.begin(1000, 3);  // as a run that is resumed there
  EXPECT_FALSE(every_two.due(2000, 3));
  EXPECT_TRUE(every_two.due(2001, 4));
}

TEST(RecurringTest, IsDueByMinutes) {
  Recurring soon({0, 0, 1e-4});  // 6 ms
  Recurring late({0, 0, 1e9});
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(soon.due(0, 0));
  EXPECT_FALSE(late.due(0, 0));
}

TEST(RecurringTest, IsDueByWhicheverIsFirstAndNeverByNone) {
  const Recurring either({10, 2, 0.0});
  EXPECT_TRUE(either.due(10, 0));
  EXPECT_TRUE(either.due(1, 2));
  EXPECT_FALSE(Recurring({0, 0, 0.0}).due(1'000'000, 1'000'000));
}

}  // namespace
}  // namespace evenkeel::examples
