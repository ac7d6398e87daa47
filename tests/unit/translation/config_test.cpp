// SPDX-License-Identifier: MIT
#include "translation/config.hpp"

#include "translation/presets.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

Config usable() {
  Config config;
  config.source = {"a"};
  config.target = {"b"};
  config.run_dir = "run";
  return config;
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ConfigTest, JsonGoesThereAndBack) {
  auto config = usable();
  config.lr = 0.25;
  config.valid_source = {"c", "d"};
  const auto json = to_json(config);
  EXPECT_EQ(json["lr"], 0.25);
  EXPECT_TRUE(json["warmup"].is_null());
  EXPECT_EQ(to_json(from_json(json)), json);
}

TEST(ConfigTest, NamesInAnyEncodingGoThereAndBack) {
  auto config = usable();
  config.source = {"caf\xE9", "plain", "\xFF\xFE"};
  config.run_dir = "run\xE9";
  const auto text = to_json(config).dump();
  const auto read = config_from_text(text, "c.json");
  EXPECT_EQ(read.source, config.source);
  EXPECT_EQ(read.run_dir, config.run_dir);
  EXPECT_EQ(error_of([] { config_from_text(R"({"run-dir": {"hex": "e"}})", "c.json"); }),
            "c.json: expected run-dir as a string, or bytes in hex, but got {\"hex\":\"e\"}");
}

TEST(ConfigTest, SettingsLeftOutOfJsonKeepTheirValue) {
  auto config = usable();
  config.seed = 7;
  EXPECT_EQ(from_json({{"lr", 0.5}}, config).seed, 7);
}

TEST(ConfigTest, AVocabularyOfOneSideMakesThemSeparate) {
  auto config = usable();
  EXPECT_EQ(resolved(config).separate_vocabularies, 0);
  config.target_vocabulary = "target.model";
  EXPECT_EQ(resolved(config).separate_vocabularies, 1);
  config.vocabulary = "joint.model";
  EXPECT_EQ(error_of([&] { resolved(config); }),
            "--vocabulary: expected none beside separate vocabularies, but got \"joint.model\"");
}

TEST(ConfigTest, TheSchemeDecidesWhatIsNotSaid) {
  auto config = usable();
  config.scheme = "tfixup";
  EXPECT_EQ(*resolved(config).warmup, 0);
  EXPECT_EQ(*resolved(config).lr, 5e-4);
  config.scheme = "post";
  EXPECT_EQ(*resolved(config).warmup, 4000);
  config.warmup = 3;
  EXPECT_EQ(*resolved(config).warmup, 3);
}

TEST(ConfigTest, ATaskHasSettingsThatWhatIsSaidOverrides) {
  for (const auto& preset : presets()) {
    auto said = usable();
    said.task = preset.name;
    const auto config = resolved(with_preset(said, said));
    EXPECT_EQ(config.task, preset.name);
    EXPECT_EQ(*config.lr, preset.lr);
    EXPECT_EQ(*config.warmup, preset.warmup);
    const auto layers = fmt::format("{}+{} layers, {}-{}-{}",
                                    config.encoder_layers,
                                    config.decoder_layers,
                                    config.embed_dim,
                                    config.dim_feedforward,
                                    config.num_heads);
    EXPECT_EQ(layers, preset.title);
    EXPECT_NE(config.vocab_size, 0);
  }
  auto config = usable();
  config.task = "iwslt";
  config.scheme = "tfixup";
  EXPECT_EQ(*resolved(config).warmup, 0);
  config.warmup = 7;
  EXPECT_EQ(*resolved(config).warmup, 7);
  config.task = "iswlt";
  EXPECT_EQ(
      error_of([&] { with_preset(config, config); }),
      "--task: expected one of tiny, multi30k, iwslt, base, big, but got iswlt; the nearest is "
      "iwslt");
}

TEST(ConfigTest, AnotherEndIsTheOnlyOneWhereNoUpdatesAreSaid) {
  auto config = usable();
  EXPECT_EQ(*resolved(config).max_steps, 10'000);
  config.after_epochs = 3;
  EXPECT_EQ(*resolved(config).max_steps, 0);
  config.max_steps = 7;
  EXPECT_EQ(*resolved(config).max_steps, 7);
  config.max_steps.reset();
  config.after_epochs = 0;
  config.early_stopping = 5;
  config.valid_source = config.valid_target = {"c"};
  EXPECT_EQ(*resolved(config).max_steps, 0);
}

TEST(ConfigTest, BleuDecidesWhereSomethingIsTranslated) {
  auto config = usable();
  EXPECT_EQ(valid_metrics(config), std::vector<std::string>{"bleu"});
  config.valid_sentences = 0;
  EXPECT_EQ(valid_metrics(config), std::vector<std::string>{"ce-mean-words"});
  config.valid_metrics = {"perplexity", "ce-mean-words"};
  EXPECT_EQ(valid_metrics(config), config.valid_metrics);
}

struct BadConfig {
  const char* name;
  std::function<void(Config&)> spoil;
  const char* text;
  friend std::ostream& operator<<(std::ostream& os, const BadConfig& c) { return os << c.name; }
};

class BadConfigTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, IsRefusedByName) {
  auto config = usable();
  GetParam().spoil(config);
  EXPECT_EQ(error_of([&] { resolved(config); }), GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(
    Settings,
    BadConfigTest,
    ::testing::Values(
        BadConfig{
            "Scheme",
            [](Config& c) { c.scheme = "best"; },
            "--scheme: expected one of post, pre, admin, admin-o1, admin-constant, "
            "admin-profiled, tfixup, deepnorm, rezero, skipinit, layerscale, peri, subln, b2t, "
            "residual-dual, lns, completep, branchnorm, normformer, keel, mixln, hybridnorm, "
            "hybridnorm-star, siamesenorm, but got best; the nearest is post"},
        BadConfig{
            "Init",
            [](Config& c) { c.init = "gpt-2"; },
            "--init: expected one of plain, tfixup, deepnet, deepnet-torchscale, subln, "
            "subln-torchscale, fixup, ds-init, marian, post-ln-init, gpt2, smallinit, but got "
            "gpt-2; the nearest is gpt2"},
        BadConfig{"Profile",
                  [](Config& c) { c.admin_profile = "profile.ratio.init"; },
                  "--admin-profile: expected --scheme admin-profiled, but got \"admin\""},
        BadConfig{"Heads",
                  [](Config& c) { c.num_heads = 7; },
                  "--embed-dim: expected an even multiple of --num-heads 7, but got 512"},
        BadConfig{"Dropout",
                  [](Config& c) { c.dropout = 1.0; },
                  "--dropout: expected a number from 0 to below 1, but got 1.0"},
        BadConfig{"NoEnd",
                  [](Config& c) { c.max_steps = 0; },
                  "--max-steps: expected an end: --max-steps, --after-epochs, --max-seconds or "
                  "--early-stopping above 0, but got 0"},
        BadConfig{"EarlyStoppingByNothing",
                  [](Config& c) { c.early_stopping = 3; },
                  "--early-stopping: expected text to validate on, but got 3"},
        BadConfig{"Metric",
                  [](Config& c) { c.valid_metrics = {"blue"}; },
                  "--valid-metrics: expected bleu, chrf, ter, ce-mean-words or perplexity, but got "
                  "\"blue\""},
        BadConfig{"MetricTwice",
                  [](Config& c) {
                    c.valid_metrics = {"bleu", "bleu"};
                  },
                  "--valid-metrics: expected each metric once, but got [\"bleu\",\"bleu\"]"},
        BadConfig{"MetricOfNothing",
                  [](Config& c) {
                    c.valid_metrics = {"bleu"};
                    c.valid_sentences = 0;
                  },
                  "--valid-metrics: expected no bleu at --valid-sentences 0, but got [\"bleu\"]"},
        BadConfig{"Layers",
                  [](Config& c) { c.decoder_layers = 0; },
                  "--decoder-layers: expected at least 1, but got 0"},
        BadConfig{"BetaOfOne",
                  [](Config& c) { c.beta1 = 1.0; },
                  "--beta1: expected a number from 0 to below 1, but got 1.0"},
        BadConfig{"BetaBelowZero",
                  [](Config& c) { c.beta2 = -1.0; },
                  "--beta2: expected a number from 0 to below 1, but got -1.0"},
        BadConfig{"BetaNan",
                  [](Config& c) { c.beta1 = std::nan(""); },
                  "--beta1: expected a number from 0 to below 1, but got \"nan\""},
        BadConfig{"BetasWithoutBound",
                  [](Config& c) { c.beta2 = 0.0; },
                  "--beta2: expected at least the square of --beta1 0.9, but got 0.0"},
        BadConfig{"Eps",
                  [](Config& c) { c.eps = 0.0; },
                  "--eps: expected a finite number above 0, but got 0.0"},
        BadConfig{"EpsInfinite",
                  [](Config& c) { c.eps = HUGE_VAL; },
                  "--eps: expected a finite number above 0, but got \"inf\""},
        BadConfig{"WeightDecay",
                  [](Config& c) { c.weight_decay = -1.0; },
                  "--weight-decay: expected a finite number from 0, but got -1.0"},
        BadConfig{"ClipNorm",
                  [](Config& c) { c.clip_norm = -1.0; },
                  "--clip-norm: expected a finite number from 0, but got -1.0"},
        BadConfig{"RateInfinite",
                  [](Config& c) { c.lr = HUGE_VAL; },
                  "--lr: expected a finite number above 0, but got \"inf\""},
        BadConfig{"Threads",
                  [](Config& c) { c.threads = 4294967297; },
                  "--threads: expected at most 1024, but got 4294967297"},
        BadConfig{"Accumulate",
                  [](Config& c) { c.accumulate = std::numeric_limits<int64_t>::max(); },
                  "--accumulate: expected at most 100000, but got 9223372036854775807"},
        BadConfig{"KeepNone",
                  [](Config& c) { c.keep_last = 0; },
                  "--keep-last: expected at least 1, but got 0"},
        BadConfig{"EmptyName",
                  [](Config& c) { c.source = {""}; },
                  "--source: expected names of files, but got [\"\"]"},
        BadConfig{"NoText",
                  [](Config& c) { c.source.clear(); },
                  "--source: expected a file of training text, but got []"},
        BadConfig{"OneSide",
                  [](Config& c) { c.target.emplace_back("c"); },
                  "--target: expected as many files as --source, or none, but got [\"b\",\"c\"]"}),
    ::testing::PrintToStringParamName());

TEST(ConfigTest, AnUnknownSettingIsAnErrorThatListsTheKnown) {
  const auto text = error_of([] { from_json({{"dropuot", 0.1}}); });
  EXPECT_EQ(text.rfind("config: there is no setting dropuot, the nearest is dropout; there are "
                       "task, source, target",
                       0),
            0)
      << text;
}

TEST(ConfigTest, AWrongTypeIsAnErrorThatNamesBoth) {
  const auto error = [](const nlohmann::json& json) { return error_of([&] { from_json(json); }); };
  EXPECT_EQ(error({{"seed", "one"}}), "config: expected seed as an integer, but got \"one\"");
  EXPECT_EQ(error({{"seed", 1.5}}), "config: expected seed as an integer, but got 1.5");
  EXPECT_EQ(error({{"seed", 9223372036854775808U}}),
            "config: expected seed as an integer below 2^63, but got 9223372036854775808");
  EXPECT_EQ(error({{"dropout", "0.1"}}), "config: expected dropout as a number, but got \"0.1\"");
  EXPECT_EQ(error({{"scheme", 1}}), "config: expected scheme as a string, but got 1");
  EXPECT_EQ(error({{"source", {1}}}), "config: expected source as a list of strings, but got [1]");
}

TEST(ConfigTest, DamagedJsonIsToldWithItsFileLineAndReason) {
  const auto error = [](const std::string& text) {
    return error_of([&] { config_from_text(text, "c.json"); });
  };
  EXPECT_EQ(error("{\"seed\": 2}"), "no error");
  EXPECT_EQ(error("{\"seed\": 2,\n}").rfind("c.json: parse error at line 2, column 1", 0), 0U)
      << error("{\"seed\": 2,\n}");
  EXPECT_EQ(error("{\n// rate\n}").rfind("c.json: parse error at line 2", 0), 0U);
  EXPECT_EQ(error("{\"lr\": NaN}").rfind("c.json: parse error at line 1", 0), 0U);
  EXPECT_EQ(error(" \n"), "c.json: expected a JSON object of settings, but it is empty");
  EXPECT_EQ(error("[]"), "c.json: expected a JSON object of settings");
  EXPECT_EQ(error("{\"seed\": 2, \"seed\": 3}"), "c.json: \"seed\" appears twice");
  EXPECT_EQ(error("{\"seed\": true}"), "c.json: expected seed as an integer, but got true");
}

TEST(ConfigTest, JsonThatIsNestedTooDeepIsRefused) {
  const std::string open(1'000'000, '['), close(1'000'000, ']');
  const auto error = [](const std::string& text) {
    return error_of([&] { config_from_text(text, "c.json"); });
  };
  for (const auto& text : {open, "{\"seed\": " + open + close + "}"}) {
    EXPECT_EQ(error(text), "c.json: expected at most 64 levels of nesting, but there are more");
  }
}

TEST(ConfigTest, AWordInAnyEncodingIsRefusedByName) {
  auto config = usable();
  config.dtype = "caf\xE9";
  EXPECT_EQ(error_of([&] { resolved(config); }),
            "--dtype: expected float32, bfloat16 or bfloat16-weights, but got \"caf\xEF\xBF\xBD\"");
}

TEST(ConfigTest, NumbersOfTheCommandLineAreReadExactlyOrRefused) {
  Config config;
  const auto error = [&](const char* name, const std::string& word) {
    return error_of([&] { set_option(config, name, {word}); });
  };
  EXPECT_EQ(error("seed", "-9223372036854775808"), "no error");
  EXPECT_EQ(config.seed, std::numeric_limits<int64_t>::min());
  EXPECT_EQ(error("lr", "1e-3"), "no error");
  EXPECT_EQ(*config.lr, 1e-3);
  EXPECT_EQ(error("max-steps", "99999999999999999999"),
            "--max-steps: expected an integer below 2^63, but got 99999999999999999999");
  EXPECT_EQ(error("max-steps", "1.5"), "--max-steps: expected an integer below 2^63, but got 1.5");
  EXPECT_EQ(error("lr", "inf"), "--lr: expected a finite number, but got inf");
  EXPECT_EQ(error("lr", "0.1x"), "--lr: expected a finite number, but got 0.1x");
}

}  // namespace
}  // namespace evenkeel::examples::translation
