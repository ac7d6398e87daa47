// SPDX-License-Identifier: MIT
#include "common/average.hpp"

#include "common/checkpoint_parts.hpp"
#include "common/settings.hpp"
#include "temporary_folder.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace evenkeel::examples {
namespace {

class AverageTest : public ::testing::Test {
 protected:
  // A checkpoint with that weight.
  std::string save(const std::string& name, double weight) {
    Checkpoint checkpoint;
    checkpoint.tensors["model.weight"] = torch::full({2}, weight);
    checkpoint.tensors["model.steps"] = torch::full({1}, 4, torch::kInt64);
    checkpoint.tensors["vocabulary"] = torch::full({3}, 7, torch::kUInt8);
    checkpoint.tensors["optimizer.00000"] = torch::ones({2});
    checkpoint.texts["step"] = name;
    checkpoint.texts["state"] = "{}";
    if (change_) change_(checkpoint);
    save_checkpoint(checkpoint, folder_ / name);
    return folder_ / name;
  }

  template <typename Error>
  static std::string error_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder_;
  std::function<void(Checkpoint&)> change_;
};

TEST_F(AverageTest, IsTheMeanOfTheWeightsAndNothingOfTheTraining) {
  const auto average = average_checkpoints({save("1", 1.0), save("2", 2.0), save("3", 6.0)});
  ASSERT_EQ(average.tensors.size(), 3U);
  EXPECT_TRUE(torch::equal(average.tensors.at("model.weight"), torch::full({2}, 3.0)));
  EXPECT_EQ(average.tensors.at("model.steps").item<int64_t>(), 4);
  EXPECT_EQ(average.tensors.at("vocabulary").scalar_type(), torch::kUInt8);
  EXPECT_EQ(average.texts.at("step"), "3");
  EXPECT_EQ(average.texts.count("state"), 0U);
}

TEST_F(AverageTest, OfOneIsThatOne) {
  const auto average = average_checkpoints({save("1", 0.1)});
  EXPECT_TRUE(torch::equal(average.tensors.at("model.weight"), torch::full({2}, 0.1)));
}

TEST_F(AverageTest, CountsACheckpointWithItsMovingAverages) {
  change_ = [](Checkpoint& c) { c.tensors["average.weight"] = torch::full({2}, 10.0); };
  const auto averaged = save("1", 1.0);
  change_ = nullptr;
  const auto average = average_checkpoints({averaged, save("2", 2.0)});
  EXPECT_TRUE(torch::equal(average.tensors.at("model.weight"), torch::full({2}, 6.0)));
  EXPECT_EQ(average.tensors.count("average.weight"), 0U);
}

TEST_F(AverageTest, RefusesCheckpointsOfAnotherModel) {
  const auto good = save("good", 1.0);
  const auto error = [&](const std::string& name, const std::function<void(Checkpoint&)>& change) {
    change_ = change;
    const auto other = save(name, 1.0);
    return error_of<CheckpointError>([&] { average_checkpoints({good, other}); });
  };
  EXPECT_EQ(error("shape", [](Checkpoint& c) { c.tensors["model.weight"] = torch::ones({3}); }),
            (folder_ / "shape") +
                ": expected model.weight, Float of shape [2], but it is Float of shape [3]");
  EXPECT_EQ(error("more", [](Checkpoint& c) { c.tensors["model.bias"] = torch::ones({3}); }),
            (folder_ / "more") + ": expected 3 tensors, as in " + good + ", but got 4");
  EXPECT_EQ(error("pieces", [](Checkpoint& c) { c.tensors["vocabulary"].fill_(8); }),
            (folder_ / "pieces") + ": expected vocabulary to be that of " + good);
}

TEST_F(AverageTest, TakesTheLastCheckpointsOfARun) {
  for (const char* name : {"step-9.safetensors",
                           "step-10.safetensors",
                           "step-x.safetensors",
                           "last.safetensors",
                           "best.safetensors"}) {
    save(name, 1.0);
  }
  const auto run = std::filesystem::path(folder_ / "last.safetensors").parent_path().string();
  const auto file = [&](const std::string& name) { return run + "/" + name + ".safetensors"; };
  EXPECT_EQ(last_checkpoints(run, 3),
            (std::vector<std::string>{file("step-9"), file("step-10"), file("last")}));
  EXPECT_EQ(last_checkpoints(run, 1), std::vector<std::string>{file("last")});
  EXPECT_EQ(error_of<ConfigError>([&] { last_checkpoints(run, 4); }),
            "--last: expected at most 3, the checkpoints in " + run + ", but got 4");
}

}  // namespace
}  // namespace evenkeel::examples
