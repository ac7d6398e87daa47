// SPDX-License-Identifier: MIT
#include "language_model/train.hpp"

#include "common/checkpoint.hpp"
#include "common/temporary_folder.hpp"
#include "language_model/generate.hpp"
#include "language_model/layer_statistics.hpp"
#include "language_model/model.hpp"
#include "language_model/run_folder.hpp"

#include <evenkeel/nn/blocks.hpp>
#include <evenkeel/residual/registry.hpp>

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::examples::language_model {
namespace {

class LanguageModelExampleTest : public ::testing::Test {
 protected:
  LanguageModelExampleTest() {
    torch::manual_seed(0);
    std::ofstream train(folder_ / "train.txt"), valid(folder_ / "valid.txt");
    for (int i = 0; i < 40; ++i) train << "the cat sat on the mat\nthe dog ran to the hill\n";
    for (int i = 0; i < 4; ++i) valid << "the dog ran to the hill\nthe cat sat on the mat\n";
  }

  Config config() const {
    Config c;
    c.text = {folder_ / "train.txt"};
    c.valid_text = {folder_ / "valid.txt"};
    c.run_dir = folder_ / "run";
    c.num_layers = 2;
    c.embed_dim = 32;
    c.num_heads = 4;
    c.dim_feedforward = 64;
    c.sequence_length = 24;
    c.batch_size = 4;
    c.accumulate = 2;
    c.max_steps = 12;
    c.valid_every = 6;
    c.log_every = 1;
    c.sample_tokens = 8;
    c.lr = 4e-3;
    c.threads = 1;
    c.device = "cpu";
    return c;
  }

  /// The log's entries of one kind.
  static std::vector<nlohmann::json> events(const Config& config, const std::string& event) {
    std::vector<nlohmann::json> found;
    std::ifstream stream(RunFolder(config.run_dir).log);
    for (std::string line; std::getline(stream, line);) {
      auto entry = nlohmann::json::parse(line);
      if (entry["event"] == event) found.push_back(std::move(entry));
    }
    return found;
  }

  static std::vector<double> losses(const Config& config) {
    std::vector<double> found;
    for (const auto& entry : events(config, "train")) found.push_back(entry["loss"].get<double>());
    return found;
  }

  static std::string error_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder_;
};

TEST_F(LanguageModelExampleTest, AResumedRunEqualsTheUnbrokenOneBitForBit) {
  for (const char* tokens : {"bytes", "pieces"}) {
    SCOPED_TRACE(tokens);
    auto unbroken = config();
    unbroken.tokens = tokens;
    unbroken.vocab_size = 60;
    unbroken.dropout = 0.1;
    unbroken.run_dir = folder_ / (std::string("unbroken-") + tokens);
    ASSERT_EQ(train(resolved(unbroken), false), Ending::kFinished);
    auto broken = resolved(unbroken);
    broken.run_dir = folder_ / (std::string("broken-") + tokens);
    for (const int64_t steps : {3, 7, 12}) {
      broken.max_steps = steps;
      ASSERT_EQ(train(broken, steps > 3), Ending::kFinished);
    }
    EXPECT_EQ(losses(broken), losses(unbroken));
    const auto a = load_checkpoint(RunFolder(unbroken.run_dir).last);
    const auto b = load_checkpoint(RunFolder(broken.run_dir).last);
    ASSERT_EQ(a.tensors.size(), b.tensors.size());
    for (const auto& [name, tensor] : a.tensors) {
      EXPECT_TRUE(torch::equal(tensor, b.tensors.at(name))) << name;
    }
  }
}

TEST_F(LanguageModelExampleTest, BeginsWithTheWeightsOfAnotherRunOfTheSameModel) {
  const auto first = resolved(config());
  ASSERT_EQ(train(first, false), Ending::kFinished);
  auto tuned = config();
  tuned.run_dir = folder_ / "tuned";
  tuned.init_from = first.run_dir;
  tuned.max_steps = 2;
  ASSERT_EQ(train(resolved(tuned), false), Ending::kFinished);
  const auto a = load_checkpoint(RunFolder(first.run_dir).best);
  const auto b = load_checkpoint(RunFolder(tuned.run_dir).earlier(0));
  for (const auto& [name, tensor] : a.tensors) {
    EXPECT_TRUE(torch::equal(tensor, b.tensors.at(name))) << name;
  }
  tuned.run_dir = folder_ / "other";
  tuned.activation = "relu";
  EXPECT_EQ(error_of([&] { train(resolved(tuned), false); }),
            "--activation: expected \"gelu\", as the model of --init-from " +
                RunFolder(first.run_dir).best + " has it, but got \"relu\"");
}

TEST_F(LanguageModelExampleTest, AWarmUpIsAShareOfAKnownNumberOfUpdates) {
  auto c = config();
  c.max_steps.reset();
  EXPECT_EQ(resolved(c).decay_steps, 2000);
  c.after_epochs = 3;
  EXPECT_EQ(
      error_of([&] { resolved(c); }),
      "--decay-steps: expected updates for --warmup-share to be a share of, since --max-steps "
      "has no limit, but got 0");
  c.decay_steps = 50;
  EXPECT_EQ(*resolved(c).max_steps, 0);
  c.decay_steps = 0;
  c.warmup_share = 0.0;
  c.lr_scheduler = "constant";
  EXPECT_EQ(learning_rate(resolved(c), 1), c.lr);
}

TEST_F(LanguageModelExampleTest, LearnsTheTextAndWritesIt) {
  auto c = config();
  c.max_steps = 300;
  c.valid_every = 1000;
  c.log_every = 50;
  ASSERT_EQ(train(resolved(c), false), Ending::kFinished);
  auto trained = load_trained(c.run_dir, "cpu");
  GenerateOptions options;
  options.max_tokens = 19;
  options.context = c.sequence_length;  // its positions are those that the model knows
  options.temperature = 0.0;
  const auto tokens = generate(*trained.model,
                               trained.tokenizer.encode(std::string("on the mat\nthe ")),
                               trained.tokenizer.end(),
                               torch::kCPU,
                               false,
                               options);
  EXPECT_EQ(trained.tokenizer.decode(tokens), "dog ran to the hill");
}

TEST_F(LanguageModelExampleTest, SaysWhatLayersLookLikeAtEveryValidation) {
  const auto c = config();
  ASSERT_EQ(train(resolved(c), false), Ending::kFinished);
  const auto updates = events(c, "train");
  EXPECT_EQ(updates.size(), 12);
  for (const auto& entry : updates) EXPECT_GT(entry["update_seconds"].get<double>(), 0.0);
  const auto validations = events(c, "valid");
  EXPECT_EQ(validations.size(), 2);
  for (const auto& entry : validations) {
    ASSERT_EQ(entry["layers"].size(), 2);
    for (const auto& layer : entry["layers"]) {
      EXPECT_GT(layer["rms"].get<double>(), 0.0);
      EXPECT_GE(layer["kurtosis"].get<double>(), 0.0);
      EXPECT_GT(layer["attention_entropy"].get<double>(), 0.0);
      EXPECT_LT(layer["attention_entropy"].get<double>(), std::log(24.0));
    }
    EXPECT_EQ(entry["samples"].size(), 1);
  }
}

TEST_F(LanguageModelExampleTest, TrainsByEveryScheme) {
  for (const auto& scheme : schemes()) {
    SCOPED_TRACE(scheme.name);
    auto c = config();
    c.scheme = scheme.name;
    c.max_steps = 2;
    c.run_dir = folder_ / scheme.name;
    EXPECT_EQ(train(resolved(c), false), Ending::kFinished);
  }
}

TEST_F(LanguageModelExampleTest, ProfilesItsFirstBatchOrTakesAFileAndGoesOn) {
  auto c = config();
  c.scheme = "admin-profiled";
  c.max_steps = c.decay_steps = 4;
  ASSERT_EQ(train(resolved(c), false), Ending::kFinished);
  const auto told = events(c, "profile");
  ASSERT_EQ(told.size(), 1U);
  const auto omegas = told.front()["omegas"].get<std::vector<double>>();
  ASSERT_EQ(omegas.size(), 4U);
  EXPECT_GT(omegas.back(), omegas.front());  // the variance before a sub-layer grows

  auto by_file = c;
  by_file.admin_profile = RunFolder(c.run_dir).profile;
  by_file.run_dir = folder_ / "by_file";
  for (const int64_t steps : {2, 4}) {
    by_file.max_steps = steps;
    ASSERT_EQ(train(resolved(by_file), steps > 2), Ending::kFinished);
  }
  const auto losses = [](const std::vector<nlohmann::json>& entries) {
    std::vector<double> all;
    for (const auto& entry : entries) all.push_back(entry["loss"].get<double>());
    return all;
  };
  EXPECT_EQ(losses(events(by_file, "train")), losses(events(c, "train")));
  const auto checkpoint = load_checkpoint(RunFolder(by_file.run_dir).last);
  EXPECT_FALSE(checkpoint.texts.at("profile").empty());

  c.scheme = "pre";
  c.admin_profile = by_file.admin_profile;
  EXPECT_EQ(error_of([&] { resolved(c); }),
            "--admin-profile: expected --scheme admin-profiled, but got \"pre\"");
}

TEST_F(LanguageModelExampleTest, LearnedPositionsEndWithTheSequence) {
  auto c = config();
  c.positions = "learned";
  c.valid_sequences = 4;
  c.sample_tokens = 40;  // more than a sequence has
  ASSERT_EQ(train(resolved(c), false), Ending::kFinished);
  auto trained = load_trained(c.run_dir, "cpu");
  EXPECT_EQ(trained.model->position_embedding->weight.sizes(), (std::vector<int64_t>{24, 32}));
  GenerateOptions options;
  options.max_tokens = 50;
  options.context = c.sequence_length;
  options.never = {256};
  const auto cached = generate(*trained.model, {3, 5, 7}, 256, torch::kCPU, false, options);
  EXPECT_EQ(cached.size(), 50U);
  options.cache = false;
  EXPECT_EQ(generate(*trained.model, {3, 5, 7}, 256, torch::kCPU, false, options), cached);

  auto tuned = c;
  tuned.init_from = c.run_dir;
  tuned.run_dir = folder_ / "tuned";
  tuned.sequence_length = 12;
  EXPECT_EQ(
      error_of([&] { train(resolved(tuned), false); }).rfind("--sequence-length: expected 24", 0),
      0U);
  c.positions = "rotary";
  EXPECT_EQ(error_of([&] { resolved(c); }),
            "--positions: expected sinusoidal or learned, but got \"rotary\"");
}

TEST_F(LanguageModelExampleTest, TrainsWithEveryBlockAndGeneratesTheSameWithACache) {
  for (const auto& block : nn::blocks()) {
    SCOPED_TRACE(block.name);
    auto c = config();
    c.block = block.name;
    c.run_dir = folder_ / block.name;
    ASSERT_EQ(train(resolved(c), false), Ending::kFinished);
    const auto validations = events(c, "valid");
    EXPECT_EQ(validations.size(), 2);
    for (const auto& entry : validations) {
      EXPECT_EQ(entry["layers"].size(), 2);
      for (const auto& layer : entry["layers"]) {
        EXPECT_TRUE(std::isfinite(layer["attention_entropy"].get<double>()));
      }
    }
    auto trained = load_trained(c.run_dir, "cpu");
    trained.model->to(torch::kFloat64);
    GenerateOptions options;
    options.max_tokens = 20;
    const auto cached = generate(*trained.model, {3, 5, 7}, 39, torch::kCPU, false, options);
    options.cache = false;
    EXPECT_EQ(generate(*trained.model, {3, 5, 7}, 39, torch::kCPU, false, options), cached);
  }
}

TEST_F(LanguageModelExampleTest, ABlockThatDoesNotGoWithTheSchemeIsRefusedBeforeAnyWork) {
  auto bad = config();
  bad.block = "sas";
  bad.scheme = "deepnorm";
  EXPECT_EQ(error_of([&] { resolved(bad); }),
            "--block: expected a scheme with one stream and without gains, as the block has gains "
            "of its own, but DeepNorm has a gain of the shortcut");
  bad.block = "sas-q";
  EXPECT_NE(error_of([&] { resolved(bad); }).find("sas-p"), std::string::npos)
      << error_of([&] { resolved(bad); });
}

TEST_F(LanguageModelExampleTest, TheRateRisesThenFallsToZero) {
  auto c = config();
  c.max_steps = 200;
  c.lr = 1.0;
  c = resolved(c);
  EXPECT_EQ(learning_rate(c, 5), 0.5);
  EXPECT_EQ(learning_rate(c, 10), 1.0);
  EXPECT_EQ(learning_rate(c, 105), 0.5);
  EXPECT_EQ(learning_rate(c, 200), 0.0);
}

TEST_F(LanguageModelExampleTest, SettingsGoThereAndBackAndBadOnesAreNamed) {
  const auto c = resolved(config());
  EXPECT_EQ(settings_to_json(settings_from_json(settings_to_json(c), Config(), "config")),
            settings_to_json(c));
  auto bad = config();
  bad.tokens = "words";
  EXPECT_EQ(error_of([&] { resolved(bad); }),
            "--tokens: expected bytes or pieces, but got \"words\"");
  bad = config();
  bad.vocabulary = "vocabulary.model";
  EXPECT_EQ(error_of([&] { resolved(bad); }),
            "--vocabulary: expected --tokens pieces, but got \"bytes\"");
  bad = config();
  bad.sequence_length = 50'000;
  EXPECT_EQ(error_of([&] { train(resolved(bad), false); }),
            "--text: expected text of more than --sequence-length 50000 tokens, but " +
                bad.text.front() + " has 1880");
}

TEST_F(LanguageModelExampleTest, NormAndBiasesAreSettings) {
  auto c = config();
  c.norm = "rmsnorm";
  c.bias = 0;
  const auto model = make_model(resolved(c), /*vocab_size=*/256);
  for (const auto& parameter : model->named_parameters()) {
    EXPECT_EQ(parameter.key().find("bias"), std::string::npos) << parameter.key();
  }
  c.norm = "batchnorm";
  EXPECT_EQ(error_of([&] { resolved(c); }),
            "--norm: expected layernorm, rmsnorm, dyt, scalenorm or none, but got \"batchnorm\"");
  c = config();
  c.activation = "tanh";
  EXPECT_EQ(error_of([&] { resolved(c); }),
            "--activation: expected relu, gelu, silu or swiglu, but got \"tanh\"");
}

// Cached keys and values change no draw.
TEST_F(LanguageModelExampleTest, GeneratesTheSameWithAndWithoutACache) {
  auto model = make_model(config(), 40);
  model->to(torch::kFloat64);
  for (const uint64_t seed : {1, 2, 3}) {
    GenerateOptions options;
    options.context = seed == 3 ? 8 : 0;
    options.max_tokens = 30;
    options.temperature = 1.5;
    options.top_k = 10;
    options.seed = seed;
    const auto cached = generate(*model, {3, 5, 7}, 39, torch::kCPU, false, options);
    options.cache = false;
    EXPECT_EQ(generate(*model, {3, 5, 7}, 39, torch::kCPU, false, options), cached);
    EXPECT_TRUE(model->is_training());
  }
}

TEST_F(LanguageModelExampleTest, DrawsNoTokenThatItMayNot) {
  auto model = make_model(config(), 4);
  GenerateOptions options;
  options.max_tokens = 40;
  options.temperature = 100.0;
  options.never = {0, 1};
  const auto tokens = generate(*model, {2}, /*end=*/1, torch::kCPU, false, options);
  EXPECT_EQ(tokens.size(), 40);
  for (const auto token : tokens) EXPECT_GE(token, 2);
}

TEST_F(LanguageModelExampleTest, GeneratingTouchesNoGeneratorOfTheTraining) {
  auto model = make_model(config(), 40);
  torch::manual_seed(7);
  const auto expected = torch::randn({3});
  torch::manual_seed(7);
  generate(*model, {3}, 39, torch::kCPU, false, {});
  EXPECT_TRUE(torch::equal(torch::randn({3}), expected));
}

TEST(LayerStatisticsTest, EntropyOfEqualWeightsIsTheMeanLogOfTheirNumber) {
  torch::manual_seed(0);
  Config c;
  c.num_layers = 3;
  c.embed_dim = 16;
  c.num_heads = 2;
  c.dim_feedforward = 16;
  auto model = make_model(c, 20);
  {
    const torch::NoGradGuard no_grad;
    for (const auto& item : model->named_parameters()) {  // queries of 0: all keys weigh the same
      if (item.key().find("in_proj") != std::string::npos) item.value().narrow(0, 0, 16).zero_();
      if (item.key().find("q_proj") != std::string::npos) item.value().zero_();
    }
  }
  const auto layers = layer_statistics(*model, torch::randint(20, {2, 6}, torch::kInt64), false);
  double expected = 0.0;
  for (int keys = 1; keys <= 6; ++keys) expected += std::log(keys) / 6.0;
  ASSERT_EQ(layers.size(), 3);
  for (const auto& layer : layers) EXPECT_NEAR(layer.attention_entropy, expected, 1e-5);
}

}  // namespace
}  // namespace evenkeel::examples::language_model
