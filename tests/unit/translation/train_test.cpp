// SPDX-License-Identifier: MIT
#include "translation/train.hpp"

#include "all_close.hpp"
#include "common/checkpoint.hpp"
#include "common/files.hpp"
#include "common/lock.hpp"
#include "common/text.hpp"
#include "toy_task.hpp"
#include "translation/bleu.hpp"
#include "translation/decode.hpp"
#include "translation/model.hpp"
#include "translation/run_folder.hpp"

#include <evenkeel/residual/registry.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

// The run's translations of its validation text.
std::vector<std::string> translations_of(const Config& config, int64_t beam) {
  auto trained = load_trained(config.run_dir, config.device);
  DecodeOptions options;
  options.beam = beam;
  return translate(*trained.model,
                   trained.vocabularies,
                   read_lines(config.valid_source.front()),
                   device_of(trained.config.device),
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

// What is thrown; for other errors than that, the test fails.
template <typename Error>
std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

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

class ResumedRunTest : public TrainTest,
                       public ::testing::WithParamInterface<std::pair<std::string, std::string>> {};

TEST_P(ResumedRunTest, HasTheLossesAndWeightsOfTheUnbrokenOneBitForBit) {
  auto unbroken = short_run();
  std::tie(unbroken.device, unbroken.dtype) = GetParam();
  if (unbroken.device == "cuda" && !torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  unbroken.batch_shapes = unbroken.device == "cuda" ? 4 : 0;
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
    EXPECT_NE(tensor.scalar_type(), torch::kBFloat16) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(DevicesAndTypes,
                         ResumedRunTest,
                         ::testing::Values(std::pair("cpu", "float32"),
                                           std::pair("cpu", "bfloat16-weights"),
                                           std::pair("cuda", "float32"),
                                           std::pair("cuda", "bfloat16-weights")));

// Dropout of words, layers and R-Drop's two passes draw from generators that checkpoints have.
TEST_F(TrainTest, WithEveryRegulariserResumesBitForBit) {
  auto unbroken = short_run();
  unbroken.max_steps = 12;
  unbroken.encoder_layers = unbroken.decoder_layers = 2;
  ASSERT_EQ(train(unbroken, false), Ending::kFinished);
  const auto plain = values(read_log(unbroken.run_dir), "train", "loss");
  std::vector<std::vector<double>> all{plain};
  const std::vector<std::pair<const char*, double Config::*>> regularisers{
      {"rdrop", &Config::rdrop},
      {"dropout-src", &Config::dropout_src},
      {"dropout-trg", &Config::dropout_trg},
      {"encoder-layerdrop", &Config::encoder_layerdrop},
      {"decoder-layerdrop", &Config::decoder_layerdrop}};
  for (const auto& [name, field] : regularisers) {
    SCOPED_TRACE(name);
    unbroken.*field = 0.5;
    unbroken.run_dir = folder_ / (std::string("unbroken-") + name);
    ASSERT_EQ(train(unbroken, false), Ending::kFinished);
    auto broken = unbroken;
    broken.run_dir = folder_ / (std::string("broken-") + name);
    for (const int64_t steps : {5, 12}) {
      broken.max_steps = steps;
      ASSERT_EQ(train(broken, steps > 5), Ending::kFinished);
    }
    const auto losses = values(read_log(unbroken.run_dir), "train", "loss");
    EXPECT_EQ(values(read_log(broken.run_dir), "train", "loss"), losses);
    for (const auto& others : all) EXPECT_NE(losses, others);
    all.push_back(losses);
    unbroken.*field = 0.0;
  }
}

TEST_F(TrainTest, LogsTheShareOfPadding) {
  auto config = short_run();
  config.max_steps = 4;
  config.accumulate = 1;
  config.batch_tokens = 10'000;  // one batch has all
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto shares = values(read_log(config.run_dir), "train", "padding");
  ASSERT_EQ(shares.size(), 4U);
  EXPECT_GT(shares.front(), 0.05);
  EXPECT_LT(shares.front(), 0.6);
  for (const auto share : shares) EXPECT_DOUBLE_EQ(share, shares.front());  // each of one batch
}

TEST_F(TrainTest, EmbeddingsAndGainsHaveRatesOfTheirOwn) {
  auto config = short_run();
  config.scheme = "admin-o1";
  config.max_steps = 1;
  config.warmup = 1;
  config.valid_sentences = 0;
  config.lr_embeddings = 0.0;
  config.lr_gains = 0.0;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto moved = load_trained(config.run_dir, "cpu");
  torch::manual_seed(static_cast<uint64_t>(config.seed));
  const auto first = make_model(config, moved.vocabularies.sizes());
  for (const auto& item : first->named_parameters()) {
    const bool stays = item.key().find("embedding") != std::string::npos ||
                       item.key().find("omega") != std::string::npos;
    EXPECT_EQ(torch::equal(item.value(), moved.model->named_parameters()[item.key()]), stays)
        << item.key();
  }
}

// Also of schemes with two streams, a gain that layers share, or one that follows the updates.
TEST_F(TrainTest, OfEverySchemeResumesBitForBit) {
  for (const auto& scheme : schemes()) {
    SCOPED_TRACE(scheme.name);
    auto unbroken = short_run();
    unbroken.scheme = scheme.name;
    unbroken.branchnorm_steps = 5;
    unbroken.max_steps = 6;
    unbroken.run_dir = folder_ / ("unbroken-" + scheme.name);
    ASSERT_EQ(train(unbroken, false), Ending::kFinished);
    auto broken = unbroken;
    broken.run_dir = folder_ / ("broken-" + scheme.name);
    for (const int64_t steps : {3, 6}) {
      broken.max_steps = steps;
      ASSERT_EQ(train(broken, steps > 3), Ending::kFinished);
    }
    EXPECT_EQ(values(read_log(broken.run_dir), "train", "loss"),
              values(read_log(unbroken.run_dir), "train", "loss"));
    const auto a = load_checkpoint(RunFolder(unbroken.run_dir).last);
    const auto b = load_checkpoint(RunFolder(broken.run_dir).last);
    EXPECT_EQ(a.texts.count("profile"), scheme.profiled ? 1 : 0);
    for (const auto& [name, tensor] : a.tensors) {
      EXPECT_TRUE(torch::equal(tensor, b.tensors.at(name))) << name;
    }
  }
}

TEST_F(TrainTest, GrowsBranchNormsGainWithTheUpdates) {
  auto config = short_run();
  config.scheme = "branchnorm";
  config.branchnorm_steps = 40;
  config.max_steps = 10;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto last = load_checkpoint(RunFolder(config.run_dir).last);
  const auto& gain = last.tensors.at("model.encoder.layer_0.self_attn_residual.branch_gain");
  EXPECT_FLOAT_EQ(gain.item<float>(), 0.25F);
}

TEST_F(TrainTest, ProfilesItsFirstBatchOrTakesAFile) {
  auto config = short_run();
  config.scheme = "admin-profiled";
  config.encoder_layers = 2;
  config.max_steps = 1;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto log = read_log(config.run_dir);
  ASSERT_EQ(log.front()["event"], "profile");
  const auto encoder = log.front()["encoder"].get<std::vector<double>>();
  ASSERT_EQ(encoder.size(), 4);
  ASSERT_EQ(log.front()["decoder"].size(), 3);
  EXPECT_EQ(encoder[0], 1.0);
  EXPECT_LT(encoder[1], encoder[3]);

  auto again = config;
  again.run_dir = folder_ / "again";
  again.admin_profile = RunFolder(config.run_dir).profile;
  ASSERT_EQ(train(again, false), Ending::kFinished);
  EXPECT_EQ(values(read_log(again.run_dir), "train", "loss"), values(log, "train", "loss"));

  std::ofstream(folder_ / "short") << "1 1.0\n2 1.5\n1 1.0\n2 1.3\n3 1.4\n";
  again.run_dir = folder_ / "other";
  again.admin_profile = folder_ / "short";
  EXPECT_EQ(
      error_of<ConfigError>([&] { train(again, false); }),
      "--admin-profile: AdminProfile: expected 4 omegas for the encoder, one for each residual "
      "sub-layer, but got 2");
}

TEST_F(TrainTest, LogsTheMeanGainsThatTheSchemeHas) {
  auto config = short_run();
  config.max_steps = 1;
  config.quiet = true;
  for (const char* scheme : {"admin-o1", "rezero", "post"}) {
    config.scheme = scheme;
    config.run_dir = folder_ / scheme;
    testing::internal::CaptureStderr();
    ASSERT_EQ(train(config, false), Ending::kFinished);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  }
  // Encoder of 2 sub-layers, sqrt(2), and decoder of 3, sqrt(3); one update moves them a little.
  const auto omega = values(read_log(folder_ / "admin-o1"), "train", "omega");
  EXPECT_NEAR(omega.front(), (2.0 * std::sqrt(2.0) + 3.0 * std::sqrt(3.0)) / 5.0, 1e-2);
  EXPECT_EQ(values(read_log(folder_ / "rezero"), "train", "branch_gain").size(), 1U);
  EXPECT_EQ(read_log(folder_ / "post").front().count("omega"), 0U);
}

TEST_F(TrainTest, NormsGainsAndBiasesDoNotDecay) {
  auto config = short_run();
  config.scheme = "admin-o1";
  config.max_steps = 1;
  config.valid_sentences = 0;
  config.lr = 0.1;
  config.warmup = 1;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  auto decayed = config;
  decayed.run_dir = folder_ / "decayed";
  decayed.weight_decay = 1.0;
  ASSERT_EQ(train(decayed, false), Ending::kFinished);
  const auto a = load_checkpoint(RunFolder(config.run_dir).last);
  const auto b = load_checkpoint(RunFolder(decayed.run_dir).last);
  int matrices = 0;
  int others = 0;
  for (const auto& item : load_trained(config.run_dir, "cpu").model->named_parameters()) {
    const auto name = "model." + item.key();
    const bool same = evenkeel::test::all_close(a.tensors.at(name), b.tensors.at(name));
    EXPECT_EQ(same, item.value().dim() < 2) << name;
    ++(item.value().dim() < 2 ? others : matrices);
  }
  EXPECT_GT(matrices, 5);
  EXPECT_GT(others, 5);
}

TEST_F(TrainTest, ADryRunWritesNothing) {
  auto config = short_run();
  config.dry_run = true;
  testing::internal::CaptureStderr();
  EXPECT_EQ(train(config, false), Ending::kFinished);
  const auto text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("an update takes"), std::string::npos) << text;
  EXPECT_NE(text.find("an epoch of"), std::string::npos) << text;
  EXPECT_NE(text.find("GiB of the process"), std::string::npos) << text;
  EXPECT_FALSE(std::filesystem::exists(config.run_dir));
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

class StopSignalTest : public TrainTest, public ::testing::WithParamInterface<int> {};

TEST_P(StopSignalTest, SavesARunThatGoesOn) {
  auto config = short_run();
  config.max_steps = 1'000'000;
  config.valid_every = 1'000'000;
  std::thread signal([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    ::kill(::getpid(), GetParam());
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

INSTANTIATE_TEST_SUITE_P(Signals, StopSignalTest, ::testing::Values(SIGTERM, SIGINT, SIGHUP));

// All floating-point tensors of a checkpoint are finite.
bool is_finite(const std::string& file) {
  std::vector<torch::Tensor> tensors;
  for (const auto& [name, tensor] : load_checkpoint(file).tensors) tensors.push_back(tensor);
  return all_finite(tensors);
}

TEST_F(TrainTest, ARunThatDivergesGoesBackWithHalfTheRateThenEndsWithAdvice) {
  auto config = short_run();
  config.lr = 1e39;
  config.warmup = 0;
  config.clip_norm = 0.0;
  config.save_every = config.valid_every = 1;
  testing::internal::CaptureStderr();
  EXPECT_EQ(train(config, false), Ending::kDiverged);
  const auto text = testing::internal::GetCapturedStderr();

  EXPECT_NE(text.find("training diverged"), std::string::npos) << text;
  EXPECT_NE(text.find("A lower learning rate than 1e+39"), std::string::npos) << text;
  EXPECT_TRUE(is_finite(RunFolder(config.run_dir).last));
  EXPECT_FALSE(std::filesystem::exists(RunFolder(config.run_dir).best));
  EXPECT_EQ(values(read_log(config.run_dir), "went_back", "lr_scale"),
            (std::vector<double>{0.5, 0.25}));
  EXPECT_EQ(read_log(config.run_dir).back()["reason"], "diverged");
}

TEST_F(TrainTest, ARunThatDivergesOnlyAtAHighRateFinishesAtALowerOne) {
  auto config = short_run();
  config.lr = 1e20;
  config.warmup = 0;
  config.max_steps = 3;
  config.valid_sentences = 0;
  config.divergence_retries = 100;
  EXPECT_EQ(train(config, false), Ending::kFinished);
  EXPECT_TRUE(is_finite(RunFolder(config.run_dir).last));
  const auto scales = values(read_log(config.run_dir), "went_back", "lr_scale");
  ASSERT_FALSE(scales.empty());
  EXPECT_LT(scales.back(), 0.5);
}

// Weights in a checkpoint that are finite, and lead to no loss that is.
void spoil(const std::string& file) {
  auto checkpoint = load_checkpoint(file);
  checkpoint.tensors.at("model.src_embedding.weight").fill_(3e38);
  save_checkpoint(checkpoint, file);
}

TEST_F(TrainTest, ARunWhoseLastCheckpointLeadsToNoBetterGoesBackToTheOneBefore) {
  auto config = short_run();
  config.save_every = 5;
  config.keep_last = 3;
  config.max_steps = 10;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  spoil(RunFolder(config.run_dir).last);
  config.max_steps = 12;
  EXPECT_EQ(train(config, true), Ending::kFinished);
  const auto log = read_log(config.run_dir);
  // What was logged behind the earlier checkpoint is gone, the first way back with it.
  EXPECT_EQ(values(log, "went_back", "step"), (std::vector<double>{5}));
  EXPECT_EQ(values(log, "went_back", "lr_scale"), (std::vector<double>{0.25}));
  EXPECT_EQ(values(log, "train", "step"),
            (std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  EXPECT_TRUE(is_finite(RunFolder(config.run_dir).last));
}

TEST_F(TrainTest, ARunWithoutAGoodCheckpointEndsWithAdviceAfterTheOldestOfThem) {
  auto config = short_run();
  config.save_every = 5;
  config.keep_last = 2;
  config.max_steps = 10;
  config.divergence_retries = 4;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const RunFolder folder(config.run_dir);
  spoil(folder.last);
  spoil(folder.earlier(5));
  config.max_steps = 12;
  testing::internal::CaptureStderr();
  EXPECT_EQ(train(config, true), Ending::kDiverged);
  const auto text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("back at update 10, with 0.5 times"), std::string::npos) << text;
  EXPECT_NE(text.find("back at update 5, with 0.25 times"), std::string::npos) << text;
  EXPECT_NE(text.find("back at update 5, with 0.0625 times"), std::string::npos) << text;
  EXPECT_NE(text.find("What mends it:\n  A "), std::string::npos) << text;
}

TEST_F(TrainTest, ADoctorSaysItsVerdictFirstAndLeavesTheTrainingAsItIs) {
  auto without = short_run();
  without.lr_scheduler = "linear";  // whose rate is 0 at the last validation
  without.warmup = 4;
  without.decay_steps = 24;
  ASSERT_EQ(train(without, false), Ending::kFinished);
  auto with = without;
  with.run_dir = folder_ / "doctor";
  with.doctor = true;
  testing::internal::CaptureStderr();
  ASSERT_EQ(train(with, false), Ending::kFinished);
  const auto text = testing::internal::GetCapturedStderr();
  EXPECT_LT(text.find("Will train"), text.find("update      1")) << text;
  const auto log = read_log(with.run_dir);
  EXPECT_EQ(values(log, "train", "loss"), values(read_log(without.run_dir), "train", "loss"));
  EXPECT_EQ(values(log, "valid", "loss"), values(read_log(without.run_dir), "valid", "loss"));
  EXPECT_EQ(values(log, "doctor", "step"), (std::vector<double>{0}));
  for (const double kurtosis : values(log, "valid", "kurtosis")) EXPECT_GT(kurtosis, 0.0);
  EXPECT_EQ(values(log, "valid", "gradient_norm").size(), 2U);
}

TEST_F(TrainTest, WeightsThatBreakInTheLastUpdateAreNotSaved) {
  auto config = short_run();
  config.lr = 1e39;
  config.warmup = 0;
  config.clip_norm = 0.0;
  config.max_steps = 1;
  config.divergence_retries = 0;
  EXPECT_EQ(train(config, false), Ending::kDiverged);
  const RunFolder folder(config.run_dir);
  EXPECT_TRUE(is_finite(folder.last));
  EXPECT_EQ(load_checkpoint(folder.last).texts.at("step"), "0");
  EXPECT_FALSE(std::filesystem::exists(folder.best));
}

TEST_F(TrainTest, ACheckpointThatIsNotFiniteIsRefused) {
  auto config = short_run();
  config.max_steps = 1;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto last = RunFolder(config.run_dir).last;
  auto checkpoint = load_checkpoint(last);
  checkpoint.tensors.at("model.src_embedding.weight").fill_(std::nan(""));
  save_checkpoint(checkpoint, last);
  const auto text = last +
                    ": expected model.src_embedding.weight to be finite, but there are NaN or "
                    "infinite values in it";
  EXPECT_EQ(error_of<CheckpointError>([&] { train(config, true); }), text);
  EXPECT_EQ(error_of<CheckpointError>([&] { load_trained(last, "cpu"); }), text);
}

TEST_F(TrainTest, TheLastCheckpointsAreKept) {
  auto config = short_run();
  config.save_every = 5;
  config.keep_last = 3;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const RunFolder folder(config.run_dir);
  EXPECT_EQ(load_checkpoint(folder.last).texts.at("step"), "24");
  EXPECT_EQ(load_checkpoint(folder.earlier(20)).texts.at("step"), "20");
  EXPECT_EQ(load_checkpoint(folder.earlier(15)).texts.at("step"), "15");
  for (const int64_t step : {0, 5, 10, 24}) {
    EXPECT_FALSE(std::filesystem::exists(folder.earlier(step))) << step;
  }
}

TEST_F(TrainTest, ADamagedCheckpointIsNamedWithTheOneBeforeIt) {
  auto config = short_run();
  config.save_every = 5;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const RunFolder folder(config.run_dir);
  auto bytes = bytes_of(folder.last);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  std::ofstream(folder.last, std::ios::binary) << bytes;
  const auto error = error_of<CheckpointError>([&] { train(config, true); });
  EXPECT_EQ(error.rfind(folder.last + ": ", 0), 0U) << error;
  EXPECT_NE(error.find("rename " + folder.earlier(20) + " to " + folder.last), std::string::npos)
      << error;
  std::filesystem::rename(folder.earlier(20), folder.last);
  EXPECT_EQ(train(config, true), Ending::kFinished);
  EXPECT_EQ(read_log(config.run_dir).back()["step"], 24);
}

TEST_F(TrainTest, CheckpointsComeByTimeToo) {
  auto config = short_run();
  config.save_minutes = 1e-6;
  config.keep_last = 4;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  for (const int64_t step : {21, 22, 23}) {
    EXPECT_TRUE(std::filesystem::exists(RunFolder(config.run_dir).earlier(step))) << step;
  }
}

TEST_F(TrainTest, ARunGoesOnWithTheSameTextUnderOtherNames) {
  auto config = short_run();
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto expected = values(read_log(config.run_dir), "train", "loss");

  config.run_dir = folder_ / "moved";
  config.max_steps = 7;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  std::filesystem::create_directory(folder_ / "elsewhere");
  for (auto* files : {&config.source, &config.target, &config.valid_source, &config.valid_target}) {
    const auto name = folder_ / "elsewhere/" + files->front().substr(files->front().rfind('/') + 1);
    std::filesystem::rename(files->front(), name);
    files->front() = name;
  }
  config.max_steps = 24;
  ASSERT_EQ(train(config, true), Ending::kFinished);
  EXPECT_EQ(values(read_log(config.run_dir), "train", "loss"), expected);
}

TEST_F(TrainTest, AnotherTextIsRefusedOrBegunAtTheNextEpoch) {
  auto config = short_run();
  config.max_steps = 9;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  for (const auto& file : {config.source.front(), config.target.front()}) {
    const auto lines = read_lines(file);
    std::ofstream(file) << lines[0] << '\n' << lines[1] << '\n';
  }
  config.max_steps = 12;
  const auto error = error_of<ConfigError>([&] { train(config, true); });
  EXPECT_EQ(error.rfind("--source: expected the text with which the run began, 300 lines", 0), 0U)
      << error;
  EXPECT_NE(error.find("but got 2 lines"), std::string::npos) << error;
  EXPECT_EQ(train(config, true, /*accept_changed_text=*/true), Ending::kFinished);
  EXPECT_EQ(read_log(config.run_dir).back()["step"], 12);
  config.max_steps = 13;
  EXPECT_EQ(train(config, true), Ending::kFinished);
}

TEST_F(TrainTest, AnotherOrderOfLinesIsAnotherText) {
  auto config = short_run();
  config.max_steps = 3;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  std::swap(config.source, config.target);
  EXPECT_NE(error_of<ConfigError>([&] { train(config, true); }), "no error");
}

TEST_F(TrainTest, TheStateInACheckpointIsChecked) {
  auto config = short_run();
  config.max_steps = 3;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto last = RunFolder(config.run_dir).last;
  const auto good = load_checkpoint(last);
  config.max_steps = 6;
  for (const auto& [key, value] : std::vector<std::pair<std::string, nlohmann::json>>{
           {"position", 999},
           {"position", -1},
           {"position", 2.5},
           {"epoch", -1},
           {"step", "3"},
           {"step", -1},
           {"seconds", 1e300},
           {"lr_scale", 0.0},
           {"window_tokens", 9223372036854775808U}}) {
    auto checkpoint = good;
    auto state = nlohmann::json::parse(good.texts.at("state"));
    state[key] = value;
    checkpoint.texts["state"] = state.dump();
    save_checkpoint(checkpoint, last);
    const auto error = error_of<CheckpointError>([&] { train(config, true); });
    EXPECT_EQ(error.rfind(last + ": ", 0), 0U) << key << ": " << error;
    EXPECT_NE(error.find(key), std::string::npos) << error;
  }
}

TEST_F(TrainTest, EveryTensorInACheckpointIsChecked) {
  auto config = short_run();
  config.max_steps = 3;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto last = RunFolder(config.run_dir).last;
  const auto good = load_checkpoint(last);
  const auto error = [&](const std::function<void(Checkpoint&)>& spoil) {
    auto checkpoint = good;
    spoil(checkpoint);
    save_checkpoint(checkpoint, last);
    return error_of<CheckpointError>([&] { train(config, true); });
  };
  const auto expect = [&](const std::string& text, const std::function<void(Checkpoint&)>& spoil) {
    EXPECT_EQ(error(spoil).rfind(last + ": expected " + text, 0), 0U) << error(spoil);
  };
  expect("model.src_embedding.weight, Float of shape",
         [](Checkpoint& c) { c.tensors["model.src_embedding.weight"] = torch::zeros({3}); });
  expect("model.src_embedding.weight, Float of shape", [](Checkpoint& c) {
    c.tensors["model.src_embedding.weight"] =
        c.tensors["model.src_embedding.weight"].to(torch::kHalf);
  });
  expect("the tensors of the model", [](Checkpoint& c) { c.tensors["model.x"] = torch::ones(1); });
  expect("optimizer.00003, Float", [](Checkpoint& c) { c.tensors.erase("optimizer.00003"); });
  expect("optimizer.", [](Checkpoint& c) {
    const auto next = c.tensors.size();
    for (size_t i = 0; i < next; ++i) {
      c.tensors.emplace(fmt::format("optimizer.{:05}", i), torch::ones(1));
    }
  });
  expect("rng.cpu, Byte", [](Checkpoint& c) { c.tensors["rng.cpu"] = torch::zeros({3}); });
  expect("a vocabulary in it", [](Checkpoint& c) { c.tensors["vocabulary"] = torch::zeros({3}); });
  EXPECT_EQ(error([](Checkpoint& c) {
              c.texts["config"] = "{\"weieht-decay\": 1}";
            }).rfind(last + ": config: there is no setting weieht-decay", 0),
            0U);
}

TEST_F(TrainTest, SeparateVocabulariesAreTrainedStoredAndUsed) {
  auto config = short_run();
  config.separate_vocabularies = 1;
  config.valid_every = 24;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const RunFolder folder(config.run_dir);
  EXPECT_FALSE(std::filesystem::exists(folder.vocabulary));
  const auto trained = load_trained(config.run_dir, "cpu");
  const auto& [source, target, joint] = trained.vocabularies;
  EXPECT_FALSE(joint);
  EXPECT_EQ(source.serialized(), bytes_of(folder.source_vocabulary));
  EXPECT_EQ(target.serialized(), bytes_of(folder.target_vocabulary));
  // Each has the words of its side alone.
  EXPECT_LT(source.encode("wolf snow").size(), target.encode("wolf snow").size());
  EXPECT_LT(target.encode("lupo neve").size(), source.encode("lupo neve").size());
  EXPECT_EQ(trained.model->src_embedding->weight.size(0), source.size());
  EXPECT_EQ(trained.model->tgt_embedding->weight.size(0), target.size());
  EXPECT_EQ(trained.model->head->weight.size(0), target.size());

  // The same run, broken, with the vocabularies from files.
  auto named = config;
  named.run_dir = folder_ / "named";
  named.separate_vocabularies = 0;
  named.source_vocabulary = folder.source_vocabulary;
  named.target_vocabulary = folder.target_vocabulary;
  named.max_steps = 7;
  named = resolved(named);
  ASSERT_EQ(train(named, false), Ending::kFinished);
  named.max_steps = 24;
  ASSERT_EQ(train(named, true), Ending::kFinished);
  EXPECT_EQ(values(read_log(named.run_dir), "train", "loss"),
            values(read_log(config.run_dir), "train", "loss"));

  named.max_steps = 25;
  std::swap(named.source_vocabulary, named.target_vocabulary);
  EXPECT_EQ(error_of<ConfigError>([&] { train(named, true); }),
            "--source-vocabulary: expected the one with which the run began, but " +
                folder.target_vocabulary + " is another");
  config.separate_vocabularies = 0;
  EXPECT_EQ(error_of<ConfigError>([&] { train(config, true); }),
            "--separate-vocabularies: expected 1, with which the run began, but got 0");
}

TEST_F(TrainTest, ACheckpointFromBeforeThereWereSeparateVocabulariesGoesOn) {
  auto config = short_run();
  config.max_steps = 3;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto last = RunFolder(config.run_dir).last;
  auto checkpoint = load_checkpoint(last);
  EXPECT_EQ(checkpoint.tensors.count("vocabulary"), 1U);
  auto settings = nlohmann::json::parse(checkpoint.texts.at("config"));
  for (const char* name : {"source-vocabulary", "target-vocabulary", "separate-vocabularies"}) {
    EXPECT_EQ(settings.erase(name), 1U) << name;
  }
  checkpoint.texts["config"] = settings.dump();
  save_checkpoint(checkpoint, last);
  config.max_steps = 5;
  EXPECT_EQ(train(config, true), Ending::kFinished);
  EXPECT_TRUE(load_trained(config.run_dir, "cpu").vocabularies.joint);
}

TEST_F(TrainTest, LearnsTheToyTaskWithSeparateVocabularies) {
  auto config = toy_task(folder_, 3000, 60);
  config.separate_vocabularies = 1;
  config.byte_fallback = 1;
  config.vocab_size = 300;
  ASSERT_EQ(train(resolved(config), false), Ending::kFinished);
  const auto references = read_lines(config.valid_target.front());
  EXPECT_GT(corpus_bleu(translations_of(config, 4), references).score, 95.0);
}

TEST_F(TrainTest, OneRunAtATimeHasAFolder) {
  const auto config = short_run();
  std::filesystem::create_directory(config.run_dir);
  const FolderLock lock(RunFolder(config.run_dir).lock);
  const auto error = error_of<FileError>([&] { train(config, false); });
  EXPECT_NE(error.find("another run is in this folder: process"), std::string::npos) << error;
}

TEST_F(TrainTest, ARunThatEndedBeforeItsFirstCheckpointIsBegunAgain) {
  auto config = short_run();
  config.max_steps = 2;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const RunFolder folder(config.run_dir);
  for (const auto& file : {folder.last, folder.best}) std::filesystem::remove(file);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path)) {
    if (entry.path().extension() == ".safetensors") std::filesystem::remove(entry.path());
  }
  EXPECT_EQ(error_of<CheckpointError>([&] { train(config, true); }),
            folder.last +
                ": No such file or directory; a run without a checkpoint is begun again "
                "without --resume");
  EXPECT_EQ(train(config, false), Ending::kFinished);
  EXPECT_EQ(values(read_log(config.run_dir), "train", "step"), (std::vector<double>{1, 2}));
}

TEST_F(TrainTest, FilesOfNoRunAreNotWrittenOver) {
  const auto config = short_run();
  const RunFolder folder(config.run_dir);
  for (const auto& file : {folder.config, folder.vocabulary, folder.best}) {
    std::filesystem::create_directory(config.run_dir);
    std::ofstream(file) << "mine";
    EXPECT_NE(error_of<ConfigError>([&] { train(config, false); }).find(file), std::string::npos);
    EXPECT_EQ(bytes_of(file), "mine");
    remove_folder(config.run_dir);
  }
}

TEST_F(TrainTest, APlaceThatCannotBeWrittenIsRefusedBeforeAnyWork) {
  auto config = short_run();
  config.source = {"not read"};
  const RunFolder folder(config.run_dir);
  std::filesystem::create_directory(config.run_dir);
  std::ofstream(folder.lock) << "";
  std::filesystem::create_directory(folder.config);
  EXPECT_EQ(error_of<FileError>([&] { train(config, false); }), folder.config + ": Is a directory");
  std::ofstream(folder_ / "file") << "mine";
  config.run_dir = folder_ / "file";
  EXPECT_EQ(error_of<FileError>([&] { train(config, false); }),
            config.run_dir + ": Not a directory");
}

TEST_F(TrainTest, AVocabularyThatCannotBeReadIsRefusedBeforeAnyWork) {
  for (auto member :
       {&Config::vocabulary, &Config::source_vocabulary, &Config::target_vocabulary}) {
    auto config = short_run();
    config.source = {"not read"};
    config.*member = folder_ / "missing";
    EXPECT_EQ(error_of<FileError>([&] { train(resolved(config), false); }),
              (folder_ / "missing") + ": No such file or directory");
    EXPECT_FALSE(std::filesystem::exists(config.run_dir));
  }
}

TEST_F(TrainTest, AnotherMetricOrValidationTextBeginsTheBestAnew) {
  auto config = short_run();
  config.valid_sentences = 0;
  config.max_steps = 3;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const RunFolder folder(config.run_dir);
  const auto best = [&] {
    const auto state = nlohmann::json::parse(load_checkpoint(folder.last).texts.at("state"));
    return state["chosen_by"].get<std::string>();
  };
  const auto text_of_resuming = [&] {
    testing::internal::CaptureStderr();
    EXPECT_EQ(train(config, true), Ending::kFinished);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(best(), "loss");
  config.valid_sentences = 10;
  config.max_steps = 4;
  EXPECT_NE(text_of_resuming().find(
                "was chosen by loss; the search starts again, by BLEU of 10 sentences"),
            std::string::npos);
  EXPECT_EQ(best(), "BLEU of 10 sentences");
  std::swap(config.valid_source, config.valid_target);
  EXPECT_NE(text_of_resuming().find("the validation text has changed"), std::string::npos);
}

TEST_F(TrainTest, StopsEarlyByTheFirstMetricAndKeepsTheBestByEach) {
  auto config = short_run();
  config.lr = 1e-9;  // learns nothing
  config.valid_metrics = {"bleu", "perplexity", "ter"};
  config.valid_every = 2;
  config.early_stopping = 3;
  ASSERT_EQ(train(config, false), Ending::kStalled);
  const auto log = read_log(config.run_dir);
  EXPECT_EQ(log.back()["reason"], "stalled");
  EXPECT_EQ(log.back()["step"], 8);
  const RunFolder folder(config.run_dir);
  EXPECT_EQ(load_checkpoint(folder.best).texts.at("step"), "2");
  EXPECT_GE(load_trained(folder.best_by("perplexity"), "cpu").step, 2);
  EXPECT_EQ(load_checkpoint(folder.best_by("ter")).texts.at("step"), "2");
  EXPECT_GT(values(log, "valid", "ter").front(), 0.0);
}

TEST_F(TrainTest, FollowsTheScheduleThatIsNamed) {
  auto config = short_run();
  config.lr = 1e-3;
  config.warmup = 2;
  config.max_steps = 6;
  config.valid_every = 1;
  config.valid_metrics = {"ce-mean-words"};
  config.early_stopping_epsilon = 100.0;  // so that nothing is better
  config.lr_shrink = 0.5;
  config.lr_patience = 1;
  for (const auto& [name, last] :
       std::vector<std::pair<std::string, double>>{{"cosine", 0.0},
                                                   {"linear", 0.0},
                                                   {"constant", 1e-3},
                                                   {"reduce_lr_on_plateau", 2.5e-4}}) {
    config.lr_scheduler = name;
    config.run_dir = folder_ / name;
    ASSERT_EQ(train(resolved(config), false), Ending::kFinished);
    const auto rates = values(read_log(config.run_dir), "train", "lr");
    EXPECT_EQ(rates[0], 5e-4) << name;
    EXPECT_EQ(rates[1], 1e-3) << name;
    EXPECT_EQ(rates.back(), last) << name;
  }
}

TEST_F(TrainTest, BeginsWithTheWeightsOfAnotherRunAndNothingElseOfIt) {
  const auto first = short_run();
  ASSERT_EQ(train(first, false), Ending::kFinished);
  auto tuned = first;
  tuned.run_dir = folder_ / "tuned";
  tuned.init_from = RunFolder(first.run_dir).last;
  tuned.seed = 7;
  tuned.lr_scheduler = "constant";
  tuned.max_steps = 4;
  std::swap(tuned.source, tuned.target);  // another text, and the same vocabulary
  ASSERT_EQ(train(tuned, false), Ending::kFinished);

  const auto a = load_checkpoint(RunFolder(first.run_dir).last);
  const auto b = load_checkpoint(RunFolder(tuned.run_dir).earlier(0));
  for (const auto& [name, tensor] : a.tensors) {
    if (name.rfind("model.", 0) == 0 || name == "vocabulary") {
      EXPECT_TRUE(torch::equal(tensor, b.tensors.at(name))) << name;
    }
    if (name.rfind("optimizer.", 0) == 0) {
      EXPECT_EQ(b.tensors.at(name).abs().sum().item<double>(), 0.0) << name;
    }
  }
  EXPECT_EQ(values(read_log(tuned.run_dir), "train", "step"), (std::vector<double>{1, 2, 3, 4}));

  auto broken = tuned;
  broken.run_dir = folder_ / "broken";
  for (const int64_t steps : {2, 4}) {
    broken.max_steps = steps;
    ASSERT_EQ(train(broken, steps > 2), Ending::kFinished);
  }
  EXPECT_EQ(values(read_log(broken.run_dir), "train", "loss"),
            values(read_log(tuned.run_dir), "train", "loss"));
}

TEST_F(TrainTest, AnInitialModelOfAnotherShapeSchemeOrVocabularyIsRefused) {
  const auto first = short_run();
  ASSERT_EQ(train(first, false), Ending::kFinished);
  const RunFolder folder(first.run_dir);
  auto tuned = first;
  tuned.run_dir = folder_ / "tuned";
  tuned.init_from = first.run_dir;
  const auto error = [&](const std::function<void(Config&)>& change) {
    auto config = tuned;
    change(config);
    const auto text = error_of<ConfigError>([&] { train(config, false); });
    EXPECT_FALSE(std::filesystem::exists(config.run_dir));
    return text;
  };
  const auto has = ", as the model of --init-from " + folder.best + " has it, but got ";
  EXPECT_EQ(error([](Config& c) { c.encoder_layers = 3; }),
            "--encoder-layers: expected 1" + has + "3");
  EXPECT_EQ(error([](Config& c) { c.scheme = "pre"; }),
            "--scheme: expected \"admin-o1\"" + has + "\"pre\"");
  EXPECT_EQ(error([](Config& c) { c.separate_vocabularies = 1; }),
            "--separate-vocabularies: expected 0" + has + "1");
  const auto lines = read_lines(first.source.front());
  std::ofstream(folder_ / "other.model")
      << Vocabulary::train(lines, 40, VocabularyOptions()).serialized();
  EXPECT_EQ(error([&](Config& c) { c.vocabulary = folder_ / "other.model"; }),
            "--vocabulary: expected that of " + folder.best + ", but " + (folder_ / "other.model") +
                " is another");
  EXPECT_EQ(error_of<CheckpointError>([&] {
              auto config = tuned;
              config.init_from = folder_ / "missing";
              train(config, false);
            }),
            (folder_ / "missing") + ": No such file or directory");
}

TEST_F(TrainTest, AProfiledModelIsNotProfiledAnewWhereItBegins) {
  auto config = short_run();
  config.scheme = "admin-profiled";
  config.max_steps = 2;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  auto tuned = config;
  tuned.run_dir = folder_ / "tuned";
  tuned.init_from = config.run_dir;
  ASSERT_EQ(train(tuned, false), Ending::kFinished);
  EXPECT_EQ(read_log(tuned.run_dir).front()["event"], "train");
  tuned.max_steps = 3;
  EXPECT_EQ(train(tuned, true), Ending::kFinished);
}

TEST_F(TrainTest, ValidatesKeepsAndTranslatesWithTheAveragesAndGoesOnBitForBit) {
  auto unbroken = short_run();
  unbroken.exponential_smoothing = 1e-2;
  unbroken.valid_metrics = {"ce-mean-words"};
  unbroken.lr = 1e-2;
  unbroken.max_steps = unbroken.valid_every = 12;
  ASSERT_EQ(train(unbroken, false), Ending::kFinished);
  auto broken = unbroken;
  broken.run_dir = folder_ / "broken";
  for (const int64_t steps : {5, 12}) {
    broken.max_steps = steps;
    ASSERT_EQ(train(broken, steps > 5), Ending::kFinished);
  }
  const RunFolder folder(unbroken.run_dir);
  const auto a = load_checkpoint(folder.last);
  const auto b = load_checkpoint(RunFolder(broken.run_dir).last);
  for (const auto& [name, tensor] : a.tensors) {
    EXPECT_TRUE(torch::equal(tensor, b.tensors.at(name))) << name;
  }

  const std::string weight = "src_embedding.weight";
  const auto& average = a.tensors.at("average." + weight);
  EXPECT_FALSE(torch::equal(average, a.tensors.at("model." + weight)));
  const auto best = load_checkpoint(folder.best);
  EXPECT_TRUE(torch::equal(best.tensors.at("model." + weight), average));
  EXPECT_EQ(best.tensors.count("average." + weight), 0U);
  const auto trained = load_trained(folder.last, "cpu");
  EXPECT_TRUE(torch::equal(trained.model->src_embedding->weight, average));
}

TEST_F(TrainTest, TextWithoutAPairThatFitsIsToldByFileAndOption) {
  auto config = short_run();
  config.vocab_size = 30;  // so that sentences have more pieces
  config.max_length = 2;
  const auto error = error_of<ConfigError>([&] { train(config, false); });
  EXPECT_EQ(error,
            "--valid-source: expected pairs of at most --max-length 2 pieces, but of 20 in " +
                config.valid_source.front() + " and " + config.valid_target.front() + " none is");
  config.valid_source.clear();
  config.valid_target.clear();
  EXPECT_NE(error_of<ConfigError>([&] {
              train(config, false);
            }).find("--source: expected pairs of at most --max-length 2 pieces"),
            std::string::npos);
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

TEST_F(TrainTest, ItsConfigReadsBackAsItWas) {
  auto config = short_run();
  config.max_steps = 1;
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const auto dumped = nlohmann::json::parse(bytes_of(RunFolder(config.run_dir).config));
  EXPECT_EQ(to_json(from_json(dumped)), to_json(config));
}

}  // namespace
}  // namespace evenkeel::examples::translation
