// SPDX-License-Identifier: MIT
#include "translation/train.hpp"

#include "toy_task.hpp"
#include "translation/bleu.hpp"
#include "translation/checkpoint.hpp"
#include "translation/decode.hpp"
#include "translation/parallel_text.hpp"
#include "translation/run_folder.hpp"

#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace evenkeel::translation {
namespace {

// The run's translations of its validation text.
std::vector<std::string> translations_of(const Config& config, int64_t beam) {
  auto trained = load_trained(config.run_dir, config.device);
  DecodeOptions options;
  options.beam = beam;
  return translate(*trained.model,
                   trained.vocabulary,
                   read_lines(config.valid_source.front()),
                   device_of(trained.config),
                   /*bfloat16=*/false,
                   options);
}

class LearnsTheToyTask : public ::testing::TestWithParam<std::string> {};

TEST_P(LearnsTheToyTask, ToBleu100OnSentencesItHasNotSeen) {
  const TemporaryFolder folder;
  auto config = toy_task(folder, 3000, 60);
  config.device = GetParam();
  if (config.device == "cuda" && !torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";

  ASSERT_EQ(train(resolved(config), /*resume=*/false), Ending::kFinished);

  const auto references = read_lines(config.valid_target.front());
  for (const int64_t beam : {1, 4}) {
    const auto hypotheses = translations_of(config, beam);
    EXPECT_NEAR(corpus_bleu(hypotheses, references).score, 100.0, 1e-9) << "beam " << beam;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, LearnsTheToyTask, ::testing::Values("cpu", "cuda"));

class TrainTest : public ::testing::Test {
 protected:
  // A run of a few updates, with dropout and accumulation, so that generators and batches matter.
  Config short_run() {
    auto config = toy_task(folder_, 300, 20);
    config.dropout = 0.1;
    config.accumulate = 2;
    config.encoder_layers = config.decoder_layers = 1;
    config.embed_dim = 16;
    config.dim_feedforward = 32;
    config.max_steps = 24;
    config.valid_every = 12;
    config.log_every = 1;
    return resolved(config);
  }

  TemporaryFolder folder_;
};

TEST_F(TrainTest, AResumedRunHasTheLossesAndWeightsOfTheUnbrokenOneBitForBit) {
  const auto unbroken = short_run();
  ASSERT_EQ(train(unbroken, false), Ending::kFinished);

  auto broken = unbroken;
  broken.run_dir = folder_ / "broken";
  for (const int64_t steps : {5, 13, 24}) {
    broken.max_steps = steps;
    ASSERT_EQ(train(broken, steps > 5), Ending::kFinished);
  }

  const auto expected = read_log(unbroken.run_dir);
  const auto losses = values(expected, "train", "loss");
  ASSERT_EQ(losses.size(), 24);
  EXPECT_EQ(values(read_log(broken.run_dir), "train", "loss"), losses);
  const auto a = load_checkpoint(RunFolder(unbroken.run_dir).last);
  const auto b = load_checkpoint(RunFolder(broken.run_dir).last);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : a.tensors) {
    EXPECT_TRUE(torch::equal(tensor, b.tensors.at(name))) << name;
  }
}

TEST_F(TrainTest, AScalarCountOfUpdatesInACheckpointIsThatOfAllParameters) {
  auto config = short_run();
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto unbroken = load_checkpoint(RunFolder(config.run_dir).last);

  config.run_dir = folder_ / "older";
  config.max_steps = 12;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  auto checkpoint = load_checkpoint(RunFolder(config.run_dir).last);
  auto& updates = checkpoint.tensors.at("optimizer.00000");
  EXPECT_TRUE(torch::equal(updates, torch::full_like(updates, 12.0)));
  updates = torch::full({}, 12.0);
  save_checkpoint(checkpoint, RunFolder(config.run_dir).last);
  config.max_steps = 24;
  ASSERT_EQ(train(config, true), Ending::kFinished);
  const auto resumed = load_checkpoint(RunFolder(config.run_dir).last);
  for (const auto& [name, tensor] : unbroken.tensors) {
    EXPECT_TRUE(torch::equal(tensor, resumed.tensors.at(name))) << name;
  }
}

TEST_F(TrainTest, ASeedDecidesTheRun) {
  auto config = short_run();
  config.max_steps = 3;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  auto other = config;
  other.run_dir = folder_ / "other";
  other.seed = config.seed + 1;
  ASSERT_EQ(train(other, false), Ending::kFinished);
  EXPECT_NE(values(read_log(config.run_dir), "train", "loss"),
            values(read_log(other.run_dir), "train", "loss"));
}

TEST_F(TrainTest, AStopSignalSavesARunThatGoesOn) {
  auto config = short_run();
  config.max_steps = 1'000'000;
  config.valid_every = 1'000'000;
  std::thread signal([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    ::kill(::getpid(), SIGTERM);
  });
  EXPECT_EQ(train(config, false), Ending::kStopped);
  signal.join();

  const auto log = read_log(config.run_dir);
  EXPECT_EQ(log.back()["reason"], "stopped");
  const int64_t step = log.back()["step"];
  config.max_steps = step + 2;
  EXPECT_EQ(train(config, /*resume=*/true), Ending::kFinished);
  EXPECT_EQ(read_log(config.run_dir).back()["step"], step + 2);
}

TEST_F(TrainTest, ALossThatIsNoNumberStopsTheRunAndKeepsTheLastCheckpoint) {
  auto config = short_run();
  config.max_steps = 4;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto saved = bytes_of(RunFolder(config.run_dir).last);

  auto checkpoint = load_checkpoint(RunFolder(config.run_dir).last);
  checkpoint.tensors.at("model.src_embedding.weight").fill_(std::nan(""));
  save_checkpoint(checkpoint, RunFolder(config.run_dir).last);
  const auto poisoned = bytes_of(RunFolder(config.run_dir).last);
  ASSERT_NE(poisoned, saved);
  config.max_steps = 10;
  testing::internal::CaptureStderr();
  EXPECT_EQ(train(config, true), Ending::kDiverged);
  const auto text = testing::internal::GetCapturedStderr();

  EXPECT_NE(text.find("the loss became nan by update 5"), std::string::npos) << text;
  EXPECT_NE(text.find("a lower --lr than 0.002"), std::string::npos) << text;
  EXPECT_EQ(bytes_of(RunFolder(config.run_dir).last), poisoned);
}

TEST_F(TrainTest, ARunIsNotWrittenOver) {
  auto config = short_run();
  config.max_steps = 2;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto saved = bytes_of(RunFolder(config.run_dir).last);
  try {
    train(config, false);
    FAIL() << "expected a ConfigError";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("holds a run already"), std::string::npos);
  }
  EXPECT_EQ(bytes_of(RunFolder(config.run_dir).last), saved);
}

TEST_F(TrainTest, AResumedRunMayNotChangeItsModel) {
  auto config = short_run();
  config.max_steps = 2;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  config.encoder_layers = 3;
  try {
    train(config, true);
    FAIL() << "expected a ConfigError";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "--encoder-layers: expected 1, with which the run began, but got 3");
  }
}

TEST_F(TrainTest, ADamagedStateIsToldWithItsFile) {
  auto config = short_run();
  config.max_steps = 2;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto last = RunFolder(config.run_dir).last;
  auto checkpoint = load_checkpoint(last);
  const auto error = [&] {
    save_checkpoint(checkpoint, last);
    try {
      train(config, true);
    } catch (const CheckpointError& thrown) {
      return std::string(thrown.what());
    }
    return std::string("no error");
  };
  checkpoint.texts.at("state") = R"({"step": "many"})";
  EXPECT_EQ(error().rfind(last + ": expected the state of a run in it, but it is damaged", 0), 0U)
      << error();
  checkpoint.texts.erase("state");
  EXPECT_EQ(error().rfind(last + ": expected the state of a run in it, but it is missing", 0), 0U)
      << error();
}

TEST_F(TrainTest, ItsConfigReadsBackAsItWas) {
  auto config = short_run();
  config.max_steps = 1;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto dumped = nlohmann::json::parse(bytes_of(RunFolder(config.run_dir).config));
  EXPECT_EQ(to_json(from_json(dumped)), to_json(config));
}

}  // namespace
}  // namespace evenkeel::translation
