// SPDX-License-Identifier: MIT
#include "common/batch_source.hpp"

#include "common/checkpoint.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples {
namespace {

using Batches = std::vector<std::vector<int64_t>>;

// Three batches in even epochs, two in odd ones, each of them another.
Batches order(int64_t epoch) {
  Batches batches;
  for (int64_t i = 0; i < 3 - epoch % 2; ++i) batches.push_back({10 * epoch + i});
  return batches;
}

Batches take(BatchSource& source, int count) {
  Batches batches;
  for (int i = 0; i < count; ++i) batches.push_back(source.next());
  return batches;
}

TEST(BatchSourceTest, GoesFromEpochToEpoch) {
  BatchSource source(order);
  EXPECT_EQ(take(source, 7), (Batches{{0}, {1}, {2}, {10}, {11}, {20}, {21}}));
  EXPECT_EQ(source.state().epoch, 2);
  EXPECT_EQ(source.state().position, 2);
}

TEST(BatchSourceTest, CountsEpochsAndTheShareOfOneThatIsNotOver) {
  BatchSource source(order);
  EXPECT_EQ(source.epochs(), 0.0);
  take(source, 2);
  EXPECT_EQ(source.epochs(), 2.0 / 3.0);
  take(source, 1);
  EXPECT_EQ(source.epochs(), 1.0);
  take(source, 1);
  EXPECT_EQ(source.epochs(), 1.5);
}

TEST(BatchSourceTest, ResumesAtEveryPosition) {
  BatchSource unbroken(order);
  const auto expected = take(unbroken, 12);
  for (int done = 0; done < 9; ++done) {
    BatchSource before(order);
    auto batches = take(before, done);
    BatchSource after(order);
    after.restore(before.state(), "last");
    const auto rest = take(after, 12 - done);
    batches.insert(batches.end(), rest.begin(), rest.end());
    EXPECT_EQ(batches, expected) << done;
  }
}

TEST(BatchSourceTest, GoesBack) {
  BatchSource source(order);
  take(source, 2);
  const auto state = source.state();
  const auto expected = take(source, 4);
  source.restore(state, "last");
  EXPECT_EQ(take(source, 4), expected);
}

TEST(BatchSourceTest, RefusesAPositionThatTheEpochDoesNotHaveAndStaysWhereItIs) {
  BatchSource source(order);
  take(source, 4);
  std::string text;
  try {
    source.restore({3, 4}, "last.safetensors");
  } catch (const CheckpointError& error) {
    text = error.what();
  }
  EXPECT_EQ(
      text,
      "last.safetensors: expected a position from 0 to 2, the batches of an epoch, but got 4");
  EXPECT_EQ(source.next(), (std::vector<int64_t>{11}));
}

}  // namespace
}  // namespace evenkeel::examples
