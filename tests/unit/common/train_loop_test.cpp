// SPDX-License-Identifier: MIT
#include "common/train_loop.hpp"

#include "common/batch_source.hpp"
#include "common/progress.hpp"
#include "small_model.hpp"
#include "temporary_folder.hpp"

#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel::examples {
namespace {

Texts text_of_lines(int64_t lines) {
  return {{"text", {lines, 10 * lines, "0"}}};
}

class TrainLoopTest : public ::testing::Test {
 protected:
  TrainLoopTest() {
    std::filesystem::create_directory(folder_ / "run");
    settings_.run_dir = folder_ / "run";
    settings_.max_steps = 10;
    settings_.log_every = 1;
    settings_.save_every = 4;
    settings_.keep_last = 3;
    quiet_ = std::fopen("/dev/null", "w");
  }
  ~TrainLoopTest() override { std::fclose(quiet_); }

  // A whole run, from the start or from its last checkpoint.
  Ending run(bool resume = false, const Texts& texts = text_of_lines(8), bool accept = false) {
    torch::manual_seed(1);
    SmallModel model;
    model.spoil = [&](const torch::Tensor& loss) {
      done_ = model.step.state().updates;
      return spoil_ ? spoil_(done_, loss) : loss;
    };
    Progress progress(quiet_);
    BatchSource source(small_order);
    Validator validator(measure_);
    TrainLoop loop(settings_, files(), texts, progress, source, model.step, validator);
    if (resume) loop.resume(load_checkpoint(files().last), files().last, accept);
    loop.open_log();
    Trainee trainee;
    trainee.describe = [](Checkpoint& to) { to.texts["config"] = "small"; };
    trainee.diagnose = [&] {
      ++diagnosed_;
      Diagnosis diagnosis;
      diagnosis.sublayers.resize(2);
      diagnosis.sublayers[0].output.kurtosis = 3.0;
      diagnosis.sublayers[1].output.kurtosis = 7.0;
      diagnosis.sublayers[1].shortcut_gain = 2.0;
      diagnosis.trial.resize(2);
      diagnosis.trial[0].gradient_norm = 0.5;
      return diagnosis;
    };
    if (lr_factor_) trainee.lr_factor = lr_factor_;
    const auto ending = loop.run(trainee);
    weight_ = model.linear->weight.detach().clone();
    return ending;
  }

  RunFiles files() const { return RunFiles(settings_.run_dir); }

  // What the log says of `key` in the entries of an event.
  std::vector<double> logged(const std::string& event, const std::string& key) const {
    std::vector<double> found;
    std::ifstream stream(files().log);
    for (std::string line; std::getline(stream, line);) {
      const auto entry = nlohmann::json::parse(line);
      if (entry["event"] == event) found.push_back(entry[key].get<double>());
    }
    return found;
  }

  std::string step_of(const std::string& file) const {
    return load_checkpoint(file).texts.at("step");
  }

  // A validation whose value is that function of the updates.
  void measure(const std::function<double(int64_t updates)>& value) {
    measure_ = [this, value] {
      ValidationReport report;
      report.metrics = {{"luck", "luck", value(done_ + 1)}};
      report.entry = {{"event", "valid"}, {"luck", report.metrics.front().value}};
      return report;
    };
  }

  // The state in the last checkpoint, without what no two runs share.
  nlohmann::json state() const {
    auto state = nlohmann::json::parse(load_checkpoint(files().last).texts.at("state"));
    for (const char* key : {"seconds", "kept"}) state.erase(key);
    return state;
  }

  TemporaryFolder folder_;
  RunSettings settings_;
  std::function<torch::Tensor(int64_t done, const torch::Tensor& loss)> spoil_;
  Validator::Measure measure_;
  std::function<double(int64_t stalled)> lr_factor_;
  torch::Tensor weight_;
  int64_t done_ = 0;  // updates before the one that runs
  int diagnosed_ = 0;
  std::FILE* quiet_;
};

TEST_F(TrainLoopTest, EndsBySteps) {
  EXPECT_EQ(run(), Ending::kFinished);
  EXPECT_EQ(logged("train", "step").size(), 10);
  EXPECT_EQ(step_of(files().last), "10");
  EXPECT_EQ(step_of(files().earlier(8)), "8");
  EXPECT_EQ(load_checkpoint(files().last).texts.at("config"), "small");
}

TEST_F(TrainLoopTest, WithADoctorTheLogHasItsVerdictAndWhatItMeasuresAtValidations) {
  settings_.valid_every = 5;
  measure([](int64_t updates) { return static_cast<double>(updates); });
  ASSERT_EQ(run(), Ending::kFinished);
  EXPECT_EQ(diagnosed_, 0);
  EXPECT_TRUE(logged("doctor", "step").empty());

  settings_.run_dir = folder_ / "doctor";
  std::filesystem::create_directory(settings_.run_dir);
  settings_.doctor = true;
  ASSERT_EQ(run(), Ending::kFinished);
  EXPECT_EQ(diagnosed_, 3);
  EXPECT_EQ(logged("doctor", "step"), (std::vector<double>{0}));
  EXPECT_EQ(logged("valid", "step"), (std::vector<double>{5, 10}));
  EXPECT_EQ(logged("valid", "kurtosis"), (std::vector<double>{7, 7}));
  EXPECT_EQ(logged("valid", "gradient_norm"), (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(logged("valid", "shortcut_gain"), (std::vector<double>{1.5, 1.5}));
  EXPECT_EQ(logged("valid", "branch_gain"), (std::vector<double>{1, 1}));
}

TEST_F(TrainLoopTest, LogsTheGradientsNormAndMemoryAndTheSameForTensorBoard) {
  settings_.tensorboard_logdir = folder_ / "logs";
  ASSERT_EQ(run(), Ending::kFinished);
  for (const double norm : logged("train", "grad_norm")) EXPECT_GT(norm, 0.0);
  for (const double bytes : logged("train", "peak_memory")) EXPECT_GT(bytes, 1e6);
  const auto file = settings_.tensorboard_logdir + "/events.out.tfevents.0.evenkeel";
  const auto size = bytes_of(file).size();
  EXPECT_NE(bytes_of(file).find("train/grad_norm"), std::string::npos);
  settings_.max_steps = 11;
  ASSERT_EQ(run(/*resume=*/true), Ending::kFinished);
  EXPECT_GT(bytes_of(file).size(), size);
}

TEST_F(TrainLoopTest, EndsByTime) {
  settings_.max_steps = 0;
  settings_.max_seconds = 0.2;
  settings_.save_every = 1'000'000;
  EXPECT_EQ(run(), Ending::kTime);
  EXPECT_GT(logged("train", "step").size(), 0);
}

TEST_F(TrainLoopTest, EndsBySignalAndGoesOn) {
  spoil_ = [](int64_t done, const torch::Tensor& loss) {
    if (done == 5) std::raise(SIGTERM);
    return loss;
  };
  EXPECT_EQ(run(), Ending::kStopped);
  EXPECT_EQ(step_of(files().last), "6");
  spoil_ = nullptr;
  EXPECT_EQ(run(/*resume=*/true), Ending::kFinished);
  EXPECT_EQ(step_of(files().last), "10");
}

TEST_F(TrainLoopTest, AResumedRunEqualsTheUnbrokenOneBitForBit) {
  ASSERT_EQ(run(), Ending::kFinished);
  const auto weight = weight_;
  const auto losses = logged("train", "loss");
  for (int64_t first = 1; first < 10; first += 3) {
    settings_.run_dir = folder_ / std::to_string(first);
    std::filesystem::create_directory(settings_.run_dir);
    settings_.max_steps = first;
    ASSERT_EQ(run(), Ending::kFinished);
    settings_.max_steps = 10;
    ASSERT_EQ(run(true), Ending::kFinished);
    EXPECT_TRUE(torch::equal(weight_, weight)) << first;
    EXPECT_EQ(logged("train", "loss"), losses) << first;
  }
}

TEST_F(TrainLoopTest, GoesBackAfterADivergenceWithHalfTheRate) {
  bool diverged = false;
  spoil_ = [&](int64_t done, const torch::Tensor& loss) {
    if (done != 6 || diverged) return loss;
    diverged = true;
    return loss * std::nan("");
  };
  EXPECT_EQ(run(), Ending::kFinished);
  EXPECT_EQ(logged("went_back", "step"), (std::vector<double>{4}));
  EXPECT_EQ(logged("went_back", "from_step"), (std::vector<double>{7}));
  EXPECT_EQ(logged("went_back", "lr_scale"), (std::vector<double>{0.5}));
  EXPECT_EQ(logged("train", "step"), (std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_TRUE(weight_.isfinite().all().item<bool>());
  EXPECT_EQ(diagnosed_, 0);
}

TEST_F(TrainLoopTest, ADivergenceThatGoesOnEndsWithAdviceAndAGoodCheckpoint) {
  settings_.divergence_retries = 3;
  spoil_ = [](int64_t done, const torch::Tensor& loss) {
    return done >= 6 ? loss * std::nan("") : loss;
  };
  EXPECT_EQ(run(), Ending::kDiverged);
  EXPECT_EQ(diagnosed_, 1);
  // First to 4; to 0, with which the log of that is gone; to 4 as it came out of 0.
  EXPECT_EQ(logged("went_back", "step"), (std::vector<double>{0, 4}));
  EXPECT_EQ(logged("went_back", "lr_scale"), (std::vector<double>{0.25, 0.125}));
  EXPECT_EQ(step_of(files().last), "4");
}

TEST_F(TrainLoopTest, ValidatesKeepsTheBestAndDoesNotValidateTheEndTwice) {
  measure([](int64_t updates) { return updates == 6 ? 9.0 : 0.0; });
  settings_.valid_every = 3;
  EXPECT_EQ(run(), Ending::kFinished);
  EXPECT_EQ(logged("valid", "step"), (std::vector<double>{3, 6, 9, 10}));
  EXPECT_EQ(step_of(files().best), "6");
  EXPECT_EQ(load_checkpoint(files().best).texts.at("config"), "small");
  settings_.valid_every = 5;
  settings_.max_steps = 15;
  EXPECT_EQ(run(true), Ending::kFinished);
  EXPECT_EQ(logged("valid", "step"), (std::vector<double>{3, 6, 9, 10, 15}));
  EXPECT_EQ(step_of(files().best), "6");
}

TEST_F(TrainLoopTest, KeepsTheBestModelByEachMetric) {
  measure_ = [&] {
    ValidationReport report;
    const double x = static_cast<double>(done_ + 1);
    report.metrics = {{"luck", "luck", x == 4.0 ? 1.0 : 0.0},
                      {"loss", "loss", std::abs(x - 6.0), /*lower_is_better=*/true}};
    report.entry = {{"event", "valid"}};
    return report;
  };
  settings_.valid_every = 2;
  ASSERT_EQ(run(), Ending::kFinished);
  EXPECT_EQ(step_of(files().best), "4");
  EXPECT_EQ(step_of(files().best_by("loss")), "6");
  EXPECT_EQ(load_checkpoint(files().best_by("loss")).texts.at("config"), "small");
  EXPECT_FALSE(std::filesystem::exists(files().best_by("luck")));
}

TEST_F(TrainLoopTest, EndsValidatesAndSavesByEpochs) {  // of two batches
  measure([](int64_t) { return 0.0; });
  settings_.max_steps.reset();
  settings_.after_epochs = 7;
  settings_.valid_every = settings_.save_every = 0;
  settings_.valid_epochs = 2;
  settings_.save_epochs = 3;
  EXPECT_EQ(run(), Ending::kFinished);
  EXPECT_EQ(logged("train", "step").size(), 14);
  EXPECT_EQ(logged("valid", "step"), (std::vector<double>{4, 8, 12, 14}));
  EXPECT_EQ(step_of(files().earlier(6)), "6");
  EXPECT_EQ(step_of(files().earlier(12)), "12");
  settings_.after_epochs = 8;
  EXPECT_EQ(run(/*resume=*/true), Ending::kFinished);
  EXPECT_EQ(logged("valid", "step"), (std::vector<double>{4, 8, 12, 14, 16}));
}

TEST_F(TrainLoopTest, AnUpdateInWhichAnEpochEndsIsTheLast) {
  settings_.max_steps.reset();
  settings_.accumulate = 3;
  settings_.after_epochs = 2;
  EXPECT_EQ(run(), Ending::kFinished);
  EXPECT_EQ(logged("train", "step").size(), 2);  // 6 batches, where 4 are 2 epochs
}

TEST_F(TrainLoopTest, ValidatesByMinutes) {
  measure([](int64_t) { return 0.0; });
  settings_.valid_every = 0;
  settings_.valid_minutes = 1e-9;
  EXPECT_EQ(run(), Ending::kFinished);
  EXPECT_EQ(logged("valid", "step").size(), 10);
}

TEST_F(TrainLoopTest, EndsWhereSoManyValidationsInARowAreNoBetter) {
  measure([](int64_t updates) { return updates == 3 ? 1.0 : updates == 6 ? 1.5 : 0.0; });
  settings_.max_steps.reset();
  settings_.valid_every = 1;
  settings_.early_stopping = 4;
  EXPECT_EQ(run(), Ending::kStalled);
  EXPECT_EQ(logged("valid", "stalled"), (std::vector<double>{0, 1, 0, 1, 2, 0, 1, 2, 3, 4}));
  EXPECT_EQ(step_of(files().best), "6");
  EXPECT_EQ(step_of(files().last), "10");
  EXPECT_EQ(run(/*resume=*/true), Ending::kStalled);  // it goes on with more patience alone
  EXPECT_EQ(step_of(files().last), "10");
  settings_.early_stopping = 5;
  EXPECT_EQ(run(true), Ending::kStalled);
  EXPECT_EQ(step_of(files().last), "11");
}

TEST_F(TrainLoopTest, PatienceNeedsAnImprovementOfMoreThanEpsilon) {
  measure([](int64_t updates) { return 0.1 * static_cast<double>(updates); });
  settings_.valid_every = 1;
  settings_.early_stopping = 2;
  settings_.early_stopping_epsilon = 0.25;
  EXPECT_EQ(run(), Ending::kStalled);
  EXPECT_EQ(logged("valid", "stalled"), (std::vector<double>{0, 1, 2}));
  EXPECT_EQ(step_of(files().best), "3");
}

// Also where the run has ended in between, with a validation that the unbroken one has not.
TEST_F(TrainLoopTest, PatienceAndBestModelsOfAResumedRunAreThoseOfTheUnbrokenOne) {
  measure([](int64_t updates) { return updates == 4 ? 1.0 : updates == 7 ? 3.0 : 0.0; });
  settings_.max_steps = 0;
  settings_.valid_every = 2;
  settings_.early_stopping = 3;
  ASSERT_EQ(run(), Ending::kStalled);
  const auto expected = state();
  ASSERT_EQ(expected["step"], 10);
  for (const int64_t first : {1, 3, 6, 7}) {
    settings_.run_dir = folder_ / std::to_string(first);
    std::filesystem::create_directory(settings_.run_dir);
    settings_.max_steps = first;
    ASSERT_EQ(run(), Ending::kFinished);
    settings_.max_steps = 0;
    ASSERT_EQ(run(true), Ending::kStalled);
    auto resumed = state();
    EXPECT_EQ(resumed["log_lines"], expected["log_lines"].get<int64_t>() + first % 2) << first;
    EXPECT_EQ(step_of(files().best), first == 7 ? "7" : "4");
    for (const char* key : {"log_lines", "best"}) resumed[key] = expected[key];
    EXPECT_EQ(resumed, expected) << first;
  }
}

TEST_F(TrainLoopTest, TheRateFallsOnAPlateauAndInAResumedRunAsInTheUnbrokenOne) {
  measure([](int64_t updates) { return updates == 4 ? 1.0 : 0.0; });
  lr_factor_ = [](int64_t stalled) { return stalled > 0 && stalled % 2 == 0 ? 0.5 : 1.0; };
  settings_.valid_every = 1;
  ASSERT_EQ(run(), Ending::kFinished);
  const auto weight = weight_;
  const auto rates = logged("train", "lr");
  // Stalled: 0, 1, 2, 0, 1, 2, 3, 4, 5, 6 after the updates 1 to 10.
  EXPECT_EQ(
      rates,
      (std::vector<double>{1e-2, 1e-2, 1e-2, 5e-3, 5e-3, 5e-3, 2.5e-3, 2.5e-3, 1.25e-3, 1.25e-3}));
  for (const int64_t first : {3, 7}) {
    settings_.run_dir = folder_ / std::to_string(first);
    std::filesystem::create_directory(settings_.run_dir);
    settings_.max_steps = first;
    ASSERT_EQ(run(), Ending::kFinished);
    settings_.max_steps = 10;
    ASSERT_EQ(run(true), Ending::kFinished);
    EXPECT_EQ(logged("train", "lr"), rates) << first;
    EXPECT_TRUE(torch::equal(weight_, weight)) << first;
  }
}

TEST_F(TrainLoopTest, AnotherTextIsRefusedOrBegunAtTheNextEpoch) {
  settings_.max_steps = 3;
  ASSERT_EQ(run(), Ending::kFinished);
  settings_.max_steps = 4;
  std::string text;
  try {
    run(true, text_of_lines(9));
  } catch (const ConfigError& error) {
    text = error.what();
  }
  EXPECT_EQ(text,
            "--text: expected the text with which the run began, 8 lines (80 bytes, CRC-32 0), but "
            "got 9 lines (90 bytes, CRC-32 0); with --accept-changed-text it goes on from the next "
            "epoch");
  EXPECT_EQ(run(true, text_of_lines(9), /*accept=*/true), Ending::kFinished);
  EXPECT_EQ(logged("train", "epoch"), (std::vector<double>{0, 0, 1, 2}));
}

TEST_F(TrainLoopTest, UpdatesThatAreAllLeftOutEndTheRun) {
  settings_.max_steps = 1000;
  settings_.divergence_retries = 0;
  spoil_ = [](int64_t, const torch::Tensor& loss) {  // a gradient beyond all numbers
    return loss + (loss - loss.detach()) * 1e38;
  };
  EXPECT_EQ(run(), Ending::kDiverged);
  EXPECT_EQ(logged("train", "step").size(), 20);
}

}  // namespace
}  // namespace evenkeel::examples
