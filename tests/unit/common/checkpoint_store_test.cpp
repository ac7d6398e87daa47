// SPDX-License-Identifier: MIT
#include "common/checkpoint_store.hpp"

#include "temporary_folder.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel::examples {
namespace {

class CheckpointStoreTest : public ::testing::Test {
 protected:
  CheckpointStoreTest() { std::filesystem::create_directory(folder_ / "run"); }

  static Checkpoint checkpoint(int64_t updates) {
    Checkpoint made;
    made.texts["step"] = std::to_string(updates);
    return made;
  }
  static void save(CheckpointStore& store, int64_t updates) {
    store.save_last(updates, [&] { return checkpoint(updates); });
  }
  static std::string step_of(const std::string& file) {
    return load_checkpoint(file).texts.at("step");
  }

  TemporaryFolder folder_;
  RunFiles files_{folder_ / "run"};
};

TEST_F(CheckpointStoreTest, KeepsTheLastAndThoseBeforeIt) {
  CheckpointStore store(files_, /*keep_last=*/3);
  for (const int64_t updates : {0, 4, 8, 12}) save(store, updates);
  EXPECT_EQ(step_of(files_.last), "12");
  EXPECT_EQ(store.kept(), (std::vector<int64_t>{4, 8}));
  EXPECT_EQ(step_of(files_.earlier(4)), "4");
  EXPECT_EQ(step_of(files_.earlier(8)), "8");
  EXPECT_FALSE(std::filesystem::exists(files_.earlier(0)));
}

TEST_F(CheckpointStoreTest, SavingTheSameUpdateAgainKeepsNothingTwice) {
  CheckpointStore store(files_, 3);
  for (const int64_t updates : {4, 4, 8, 8}) save(store, updates);
  EXPECT_EQ(store.kept(), (std::vector<int64_t>{4}));
}

TEST_F(CheckpointStoreTest, GoesBackToTheLastAndWhereThatDidNotHelpToTheOneBefore) {
  CheckpointStore store(files_, 3);
  for (const int64_t updates : {0, 4, 8}) save(store, updates);
  EXPECT_EQ(store.load_to_go_back().texts.at("step"), "8");
  EXPECT_EQ(store.load_to_go_back().texts.at("step"), "4");
  EXPECT_EQ(store.saved(), 4);
  save(store, 6);  // it went on
  EXPECT_EQ(store.load_to_go_back().texts.at("step"), "6");
}

TEST_F(CheckpointStoreTest, GoesOnWithARunsCheckpoints) {
  {
    CheckpointStore store(files_, 3);
    for (const int64_t updates : {0, 4, 8}) save(store, updates);
  }
  CheckpointStore store(files_, 2);
  store.resume(8, {0, 4});
  save(store, 12);
  EXPECT_EQ(store.kept(), (std::vector<int64_t>{8}));
  EXPECT_FALSE(std::filesystem::exists(files_.earlier(0)));
  EXPECT_FALSE(std::filesystem::exists(files_.earlier(4)));
}

TEST_F(CheckpointStoreTest, WhatCannotBeMadeLeavesTheLastOne) {
  CheckpointStore store(files_, 2);
  save(store, 4);
  const auto fail = []() -> Checkpoint { throw std::runtime_error("no memory"); };
  EXPECT_THROW(store.save_last(8, fail), std::runtime_error);
  EXPECT_EQ(step_of(files_.last), "4");
  EXPECT_EQ(store.saved(), 4);
}

}  // namespace
}  // namespace evenkeel::examples
