// SPDX-License-Identifier: MIT
#include <evenkeel/diagnose/diagnose.hpp>

#include <evenkeel/fold/detail/json.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/registry.hpp>

#include "errors.hpp"
#include "fixture.hpp"
#include "scratch_folder.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>

namespace evenkeel {
namespace {

using test::throws;

/// A diagnosis of two sub-layers whose tokens end up `distance` apart.
Diagnosis with_distance(double distance) {
  Diagnosis found;
  found.sublayers.resize(2);
  for (auto& row : found.sublayers) {
    row.name = "self_attn";
    row.norm_at_sum = row.has_norm = true;
    row.step_change = 0.8;
    row.trial_token_correlation = 1.0 - distance;
  }
  found.sublayers[0].trial_token_correlation = 0.5;
  found.sublayers[1].name = "feed_forward";
  found.sublayers[1].position.index = 1;
  found.sublayers[1].position.layer = 2;
  StackDiagnosis stack;
  stack.num_res_layers = 2;
  stack.step_change = 0.8;
  stack.sum_of_shares = 3.0;
  found.stacks.push_back(stack);
  found.trial.push_back({1e-3, 7.0, 1.0, 0.5});
  found.trial.push_back({0.0, 6.0, kNotMeasured, 1.0 - distance});
  return found;
}

bool says(const Verdict& verdict, const std::string& text) {
  return verdict.to_string().find(text) != std::string::npos;
}

int count(const std::string& text, const std::string& what) {
  int found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

TEST(VerdictTest, TokensThatLookAlikeDiverge) {
  const double limit = detail::VerdictLimits::kCollapsed;
  EXPECT_EQ(with_distance(1.1 * limit).verdict().outcome, Outcome::kTrains);
  const auto verdict = with_distance(0.9 * limit).verdict();
  EXPECT_EQ(verdict.outcome, Outcome::kDiverges);
  EXPECT_EQ(verdict.where, "encoder layer 3, feed_forward");
  EXPECT_TRUE(says(verdict, "Will diverge: the output collapses to the same vector"));
  EXPECT_TRUE(says(verdict, "It begins in the encoder layer 3, feed_forward."));
  EXPECT_TRUE(says(verdict,
                   "The scheme admin-o1: its shortcuts keep the sum of the branches' "
                   "shares, here 3, from growing with depth."));
  auto small = with_distance(0.9 * limit);
  small.stacks[0].sum_of_shares = 0.9;
  EXPECT_FALSE(says(small.verdict(), "scheme"));
  // sqrt(0.3 / 0.8) of the rate
  EXPECT_TRUE(says(verdict, "A learning rate of 0.0006 instead of 0.001"));
  EXPECT_TRUE(says(verdict, "A warm-up"));

  // An encoder that has collapsed by its end comes before the decoder.
  auto both = with_distance(0.9 * limit);
  both.sublayers[0].trial_token_correlation = 1.0 - 0.1 * limit;
  for (auto row : {both.sublayers[0], both.sublayers[1]}) {
    row.position.stack = Stack::kDecoder;
    both.sublayers.push_back(row);
  }
  both.sublayers[0].name = "first";
  EXPECT_EQ(both.verdict().where, "encoder layer 1, first");
  both.sublayers[1].trial_token_correlation = 0.5;
  EXPECT_EQ(both.verdict().where, "decoder layer 1, self_attn");
}

TEST(VerdictTest, ConfidenceGrowsWithTheDistanceFromTheLimit) {
  const double limit = detail::VerdictLimits::kCollapsed;
  double before = 0.5;
  for (const double factor : {1.01, 3.0, 30.0}) {
    const double below = with_distance(limit / factor).verdict().confidence;
    const double above = with_distance(limit * factor).verdict().confidence;
    EXPECT_NEAR(below, above, 1e-6);
    EXPECT_GT(below, before);
    before = below;
  }
  EXPECT_LE(before, 0.99);
}

TEST(VerdictTest, ALossThatGrowsDivergesWhateverTheTokens) {
  for (const double loss : {20.0, std::numeric_limits<double>::quiet_NaN()}) {
    auto found = with_distance(0.5);
    found.trial.back().loss = loss;
    for (auto& row : found.sublayers) row.norm_at_sum = row.has_norm = false;
    found.stacks[0].sum_of_shares = kNotMeasured;
    const auto verdict = found.verdict();
    EXPECT_EQ(verdict.outcome, Outcome::kDiverges);
    EXPECT_TRUE(says(verdict, "the loss grows without bound"));
    EXPECT_TRUE(says(verdict, "the scheme tfixup"));
    EXPECT_FALSE(says(verdict, "The scheme admin-o1"));
  }
}

TEST(VerdictTest, AModelThatTrainsNeedsNoAdvice) {
  const auto verdict = with_distance(0.3).verdict();
  EXPECT_TRUE(verdict.advice.empty());
  EXPECT_TRUE(verdict.where.empty());
  EXPECT_TRUE(says(verdict, "Will train"));
  auto half = with_distance(0.3);
  half.sublayers[0].output.near_overflow = 0.25;
  EXPECT_TRUE(says(half.verdict(), "bfloat16 or float32 instead of float16"));
}

class DiagnosisTest : public test::SeededTest {
 protected:
  static Diagnosis diagnosis(const char* scheme, int64_t layers, double rate) {
    nn::Transformer<> model(find_scheme(scheme),
                            nn::TransformerOptions()
                                .encoder_layers(layers)
                                .decoder_layers(layers)
                                .embed_dim(32)
                                .num_heads(2)
                                .dim_feedforward(64)
                                .vocab_size(100));
    const auto src = torch::randint(4, 100, {16, 12});
    return diagnose(
        model,
        [&] {
          return torch::cross_entropy_loss(model->forward(src, src).flatten(0, 1), src.flatten());
        },
        DiagnoseOptions().learning_rate(rate));
  }
};

TEST_F(DiagnosisTest, DeepPostNormCollapsesAtARateAtWhichAdminTrains) {
  const auto post = diagnosis("post", 12, 4e-3).verdict();
  EXPECT_EQ(post.outcome, Outcome::kDiverges) << post;
  EXPECT_NE(post.where, "");
  const auto admin = diagnosis("admin-o1", 12, 4e-3).verdict();
  EXPECT_EQ(admin.outcome, Outcome::kTrains) << admin;
}

TEST_F(DiagnosisTest, JsonHoldsTheNumbersAndNullForThoseThatAreNone) {
  const auto found = diagnosis("admin", 1, 1e-3);
  const auto json = detail::parse_json(found.to_json());
  EXPECT_EQ(json.at("verdict").at("outcome").string(), to_string(found.verdict().outcome));
  EXPECT_EQ(json.at("options").at("learning_rate").number(), 1e-3);
  EXPECT_EQ(json.at("matrices").array().size(), found.matrices.size());
  EXPECT_EQ(json.at("gains").array().size(), found.gains.size());
  EXPECT_EQ(json.at("trial").array().size(), 8U);
  const auto& rows = json.at("sublayers").array();
  ASSERT_EQ(rows.size(), 5U);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const auto& [name, value] : detail::columns_of(found.sublayers[i])) {
      if (std::string(name) == "attention_entropy") continue;  // JSON has that of each head
      const auto& member = rows[i].at(name);
      if (std::isfinite(value)) {
        EXPECT_EQ(member.number(), value) << name;
      } else {
        EXPECT_EQ(member.kind, detail::Json::Kind::kNull) << name;
      }
    }
  }
  EXPECT_EQ(rows[0].at("attention_entropy").array().size(), 2U);
  const auto& dependency = json.at("stacks").array()[1].at("dependency").array();
  ASSERT_EQ(dependency.size(), 4U);
  EXPECT_EQ(dependency[3].array()[2].number(), found.stacks[1].dependency[3][2]);
}

TEST_F(DiagnosisTest, CsvHasALineASublayerAndAsManyFields) {
  auto found = diagnosis("admin", 1, 1e-3);
  found.sublayers[0].name = "a \"b\", c";
  std::istringstream csv(found.to_csv());
  std::string line;
  ASSERT_TRUE(std::getline(csv, line));
  const auto fields = std::count(line.begin(), line.end(), ',');
  ASSERT_TRUE(std::getline(csv, line));
  EXPECT_EQ(line.rfind("encoder,0,0,self-attention,\"a \"\"b\"\", c\",", 0), 0U) << line;
  EXPECT_EQ(std::count(line.begin(), line.end(), ','), fields + 1);  // one in the name
  int lines = 1;
  while (std::getline(csv, line)) {
    ++lines;
    EXPECT_EQ(std::count(line.begin(), line.end(), ','), fields);
    EXPECT_EQ(line.find("nan"), std::string::npos);
  }
  EXPECT_EQ(lines, 5);
}

TEST_F(DiagnosisTest, ThePageIsWholeAndNeedsNothingElse) {
  auto found = diagnosis("post", 2, 1e-3);
  found.sublayers[0].name = "<script>";
  const auto page = found.to_html("A & \"B\"");
  EXPECT_EQ(page.rfind("<!DOCTYPE html>", 0), 0U);
  EXPECT_EQ(page.substr(page.size() - 15), "</body></html>\n");
  EXPECT_EQ(page.find("http"), std::string::npos);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("nan"), std::string::npos);
  EXPECT_NE(page.find("<title>A &amp; &quot;B&quot;</title>"), std::string::npos);
  EXPECT_LT(page.find("class=\"verdict"), page.find("<svg"));
  for (const char* tag : {"svg", "figure", "table", "section", "ul", "div"}) {
    EXPECT_EQ(count(page, std::string("<") + tag + ">") + count(page, std::string("<") + tag + " "),
              count(page, std::string("</") + tag + ">"))
        << tag;
  }
  EXPECT_EQ(count(page, "<tr>"), 1 + 10);  // 2 * 2 sub-layers of the encoder, 2 * 3 of the decoder
  EXPECT_NE(page.find("Dependency in the decoder"), std::string::npos);
  EXPECT_NE(page.find("prefers-color-scheme: dark"), std::string::npos);
}

TEST_F(DiagnosisTest, AFileIsWrittenWholeOrNotAtAll) {
  const test::ScratchFolder folder;
  const auto found = with_distance(0.3);
  found.write_html(folder / "doctor.html");
  found.write_csv(folder / "doctor.csv");
  EXPECT_EQ(test::bytes_of(folder / "doctor.html"), found.to_html());
  EXPECT_EQ(test::bytes_of(folder / "doctor.csv"), found.to_csv());
  EXPECT_TRUE(throws([&] { found.write_json(folder / "none/doctor.json"); },
                     "none/doctor.json: could not be written"));
  EXPECT_EQ(test::names_in(folder.path()).size(), 2U);
}

}  // namespace
}  // namespace evenkeel
