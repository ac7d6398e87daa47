// SPDX-License-Identifier: MIT
#include "translation/config.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

namespace evenkeel::translation {
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

TEST(ConfigTest, SettingsLeftOutOfJsonKeepTheirValue) {
  auto config = usable();
  config.seed = 7;
  EXPECT_EQ(from_json({{"lr", 0.5}}, config).seed, 7);
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
        BadConfig{"Scheme",
                  [](Config& c) { c.scheme = "best"; },
                  "--scheme: expected one of post, pre, admin, admin-o1, tfixup, but got best; the "
                  "nearest is post"},
        BadConfig{"Heads",
                  [](Config& c) { c.num_heads = 7; },
                  "--embed-dim: expected an even multiple of --num-heads 7, but got 512"},
        BadConfig{"Dropout",
                  [](Config& c) { c.dropout = 1.0; },
                  "--dropout: expected a share from 0 to below 1, but got 1.0"},
        BadConfig{"NoEnd",
                  [](Config& c) { c.max_steps = 0; },
                  "--max-steps: expected an end: --max-steps or --max-seconds above 0, but got 0"},
        BadConfig{"Layers",
                  [](Config& c) { c.decoder_layers = 0; },
                  "--decoder-layers: expected at least 1, but got 0"},
        BadConfig{"NoText",
                  [](Config& c) { c.source.clear(); },
                  "--source: expected a file of training text, but got []"},
        BadConfig{"OneSide",
                  [](Config& c) { c.target.emplace_back("c"); },
                  "--target: expected as many files as --source, but got [\"b\",\"c\"]"}),
    ::testing::PrintToStringParamName());

TEST(ConfigTest, AnUnknownSettingIsAnErrorThatListsTheKnown) {
  const auto text = error_of([] { from_json({{"layers", 3}}); });
  EXPECT_EQ(text.rfind("config: there is no setting layers; there are source, target", 0), 0)
      << text;
}

TEST(ConfigTest, AWrongTypeIsAnErrorThatNamesBoth) {
  EXPECT_EQ(error_of([] {
              from_json({{"seed", "one"}});
            }),
            "config: expected seed as number, but got \"one\"");
  EXPECT_EQ(error_of([] {
              from_json({{"seed", 1.5}});
            }),
            "config: expected seed as number, but got 1.5");
}

}  // namespace
}  // namespace evenkeel::translation
