// SPDX-License-Identifier: MIT
#include <evenkeel/fold/detail/json.hpp>

#include "errors.hpp"

#include <gtest/gtest.h>

#include <ostream>
#include <string>

namespace evenkeel::detail {
namespace {

using test::throws;

TEST(JsonTest, ReadsEveryKindOfValue) {
  const auto json =
      parse_json(R"( {"a": [1, -2.5e1, true, false, null], "b": {"c": "d"}, "e": []} )");
  const auto& array = json.at("a").array();
  ASSERT_EQ(array.size(), 5U);
  EXPECT_EQ(array[0].count(), 1);
  EXPECT_DOUBLE_EQ(array[1].number(), -25.0);
  EXPECT_TRUE(array[2].boolean());
  EXPECT_FALSE(array[3].boolean());
  EXPECT_EQ(array[4].kind, Json::Kind::kNull);
  EXPECT_EQ(json.at("b").at("c").string(), "d");
  EXPECT_TRUE(json.at("e").array().empty());
  EXPECT_EQ(json.find("f"), nullptr);
}

TEST(JsonTest, ReadsEscapedCharacters) {
  EXPECT_EQ(parse_json(R"("\"\\\/\b\f\n\r\t")").string(), "\"\\/\b\f\n\r\t");
  EXPECT_EQ(parse_json(R"("\u0041\u00e9\u2581\ud83d\ude00")").string(), "Aé▁😀");
}

TEST(JsonTest, ReadsBackWhatItWrites) {
  std::string text;
  for (char c = 1; c < 127; ++c) text += c;
  text += "é▁😀";
  EXPECT_EQ(parse_json(json_string(text)).string(), text);
}

struct Damage {
  const char* name;
  const char* text;
  const char* error;
  friend std::ostream& operator<<(std::ostream& os, const Damage& c) { return os << c.name; }
};

class JsonDamageTest : public ::testing::TestWithParam<Damage> {};

TEST_P(JsonDamageTest, IsAnErrorThatSaysWhatWasExpected) {
  EXPECT_TRUE(throws<JsonError>([&] { parse_json(GetParam().text); }, GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Damages,
    JsonDamageTest,
    ::testing::Values(
        Damage{"Empty", "", "expected a value at byte 0, but got the end"},
        Damage{"Behind", "1 2", "expected the end at byte 2, but got 0x32"},
        Damage{"Word", "nul", "expected a value at byte 0, but got 0x6e"},
        Damage{"LeadingZero", "01", "expected the end at byte 1, but got 0x31"},
        Damage{"NoDigits", "1.", "expected a digit at byte 2, but got the end"},
        Damage{"Plus", "+1", "expected a value at byte 0, but got 0x2b"},
        Damage{"NoColon", R"({"a" 1})", "expected a colon at byte 5, but got 0x31"},
        Damage{"NoName", R"({1: 2})", "expected a name at byte 1, but got 0x31"},
        Damage{"Comma", R"([1,])", "expected a value at byte 3, but got 0x5d"},
        Damage{"OpenArray", "[1", "expected a comma or the end of an array at byte 2"},
        Damage{"OpenObject", R"({"a":1)", "expected a comma or the end of an object at byte 6"},
        Damage{"Twice", R"({"a":1,"a":2})", "\"a\" appears twice"},
        Damage{"OpenString", R"("a)", "expected a character in UTF-8 at byte 2, but got the end"},
        Damage{"Control", "\"\n\"", "expected a character in UTF-8 at byte 1, but got 0x0a"},
        Damage{"NotUtf8", "\"\xff\"", "expected a character in UTF-8 at byte 1, but got 0xff"},
        Damage{"Escape", R"("\x")", "expected an escaped character at byte 2, but got 0x78"},
        Damage{"Digits", R"("\u12g4")", "expected four digits at byte 3, but got 0x31"},
        Damage{"LoneSurrogate", R"("\ud83d")", "expected a pair of surrogates"},
        Damage{"SecondSurrogateFirst", R"("\ude00")", "expected a pair of surrogates"}),
    ::testing::PrintToStringParamName());

TEST(JsonTest, RefusesDeepNesting) {
  const std::string open(1'000'000, '[');
  for (const auto& text : {open, open + std::string(1'000'000, ']')}) {
    EXPECT_TRUE(throws<JsonError>([&] { parse_json(text); }, "expected at most 64 levels"));
  }
  parse_json(std::string(64, '[') + std::string(64, ']'));
}

TEST(JsonTest, RefusesValuesOfAnotherKind) {
  const auto json = parse_json(R"({"a": "text", "b": -1, "c": 1.5, "d": 9223372036854775808})");
  EXPECT_TRUE(throws<JsonError>([&] { json.at("e"); }, "expected e, but it is missing"));
  EXPECT_TRUE(
      throws<JsonError>([&] { json.at("a").count(); }, "expected a count, but got \"text\""));
  EXPECT_TRUE(throws<JsonError>([&] { json.at("b").count(); }, "expected a count, but got -1"));
  EXPECT_TRUE(throws<JsonError>([&] { json.at("c").count(); }, "expected a count, but got 1.5"));
  EXPECT_TRUE(throws<JsonError>([&] { json.at("d").count(); }, "but got 9223372036854775808"));
  EXPECT_TRUE(throws<JsonError>([&] { json.string(); }, "expected a text, but got an object"));
  EXPECT_TRUE(throws<JsonError>([&] { json.at("a").array(); }, "expected an array, but got"));
  EXPECT_TRUE(throws<JsonError>([&] { json.at("b").boolean(); }, "expected true or false"));
}

}  // namespace
}  // namespace evenkeel::detail
