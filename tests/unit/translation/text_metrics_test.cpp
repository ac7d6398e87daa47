// SPDX-License-Identifier: MIT
#include "translation/text_metrics.hpp"

#include "sacrebleu_reference.hpp"
#include "translation/chrf.hpp"
#include "translation/lower_case.hpp"
#include "translation/ter.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

TEST(ChrfTest, IsTheFormulaOnCountsDoneByHand) {
  // abcd / abxd: 3 of 4, 1 of 3, 0 of 2 and 0 of 1; there are no longer n-grams
  const auto chrf = corpus_chrf({"ab c d"}, {"a bxd"});

  EXPECT_EQ(chrf.hypothesis, (std::array<int64_t, 6>{4, 3, 2, 1, 0, 0}));
  EXPECT_EQ(chrf.matches, (std::array<int64_t, 6>{3, 1, 0, 0, 0, 0}));
  const double mean = (3.0 / 4 + 1.0 / 3) / 4;  // of precision and recall alike
  EXPECT_NEAR(chrf.score, 100.0 * mean, kTolerance);
}

TEST(ChrfTest, WeighsRecallFourTimes) {
  const auto chrf = corpus_chrf({"a"}, {"ab"});  // P = 1, R = 1 / 2, of one order

  EXPECT_NEAR(chrf.score, 100.0 * 5 * 0.5 / (4 * 1 + 0.5), kTolerance);
}

TEST(ChrfTest, CountsCharactersNotBytes) {
  EXPECT_EQ(corpus_chrf({"\u00e9\U0001F600"}, {"\u00e9x"}).hypothesis[0], 2);
  EXPECT_EQ(corpus_chrf({"\u00e9\U0001F600"}, {"\u00e9x"}).matches[0], 1);
}

TEST(ChrfTest, OfNothingIsZero) {
  EXPECT_EQ(corpus_chrf({"", "\u3000"}, {"", "a"}).score, 0.0);
  EXPECT_EQ(corpus_chrf({"abc"}, {""}).hypothesis[0], 0);
}

TEST(TerTest, CountsInsertionsDeletionsAndSubstitutions) {
  const auto ter = corpus_ter({"a b c d", "x"}, {"a c d e f", "y"});

  EXPECT_EQ(ter.edits, 3 + 1);
  EXPECT_EQ(ter.reference_length, 6);
  EXPECT_NEAR(ter.score, 100.0 * 4 / 6, kTolerance);
}

TEST(TerTest, CountsAShiftOfSeveralWordsOnce) {
  EXPECT_EQ(corpus_ter({"d e f a b c"}, {"a b c d e f"}).edits, 1);
  EXPECT_EQ(corpus_ter({"a b c d e f"}, {"a b c d e f"}).edits, 0);
}

TEST(TerTest, IsBlindToCaseAndSpace) {
  EXPECT_EQ(corpus_ter({"THE  Cat\u3000SAT "}, {"the cat sat"}).edits, 0);
}

TEST(TerTest, OfEmptyReferencesIs100UnlessHypothesesAreEmptyToo) {
  EXPECT_EQ(corpus_ter({"a b"}, {""}).score, 100.0);
  EXPECT_EQ(corpus_ter({""}, {" "}).score, 0.0);
  EXPECT_EQ(corpus_ter({""}, {"a b"}).score, 100.0);
}

TEST(LowerCaseTest, KnowsTheCapitalsOfUnicode) {
  EXPECT_EQ(lower_case("A\u00C9\u0130\u0416\u00DF!"), "a\u00E9i\u0307\u0436\u00DF!");
  EXPECT_EQ(lower_case("\u039F\u0394\u039F\u03A3 \u03A3"), "\u03BF\u03B4\u03BF\u03C2 \u03C3");
  EXPECT_EQ(lower_case("\u0391\u03A3\u0391"), "\u03B1\u03C3\u03B1");
}

TEST(TextMetricsTest, RefuseDifferentNumbersOfSentences) {
  for (const auto& metric : text_metrics()) {
    std::string text;
    try {
      metric.score({"a", "b"}, {"a"});
    } catch (const std::invalid_argument& error) {
      text = error.what();
    }
    EXPECT_EQ(text,
              std::string("corpus_") + metric.name +
                  ": expected as many hypotheses as references, at least one, but got 2 and 1");
  }
}

TEST(TextMetricsTest, AreFoundByName) {
  EXPECT_EQ(find_text_metric("ter"), &text_metrics()[2]);
  EXPECT_EQ(find_text_metric("meteor"), nullptr);
}

TEST_F(SacreBleuTest, GivesTheSameChrfAndTer) {
  auto scores = open("chrf_ter.txt");
  int cases = 0;
  for (std::string line; std::getline(scores, line); ++cases) {
    std::istringstream fields(line);
    std::string name;
    double chrf = 0.0;
    double ter = 0.0;
    int64_t edits = 0;
    int64_t length = 0;
    fields >> name >> chrf >> ter >> edits >> length;
    ASSERT_TRUE(fields) << line;
    SCOPED_TRACE(name);
    const auto hypotheses = segments(name + ".hyp");
    const auto references = segments(name + ".ref");

    EXPECT_NEAR(corpus_chrf(hypotheses, references).score, chrf, kTolerance);
    const auto found = corpus_ter(hypotheses, references);
    EXPECT_EQ(found.edits, edits);
    EXPECT_EQ(found.reference_length, length);
    EXPECT_NEAR(found.score, ter, kTolerance);
  }
  EXPECT_GT(cases, 100);
}

TEST_F(SacreBleuTest, PrintsTheSameLinesOfEveryMetric) {
  for (const auto& metric : text_metrics()) {
    auto lines = open(std::string(metric.name) + "_lines.txt");
    int cases = 0;
    for (std::string line; std::getline(lines, line); ++cases) {
      const auto tab = line.find('\t');
      const auto name = line.substr(0, tab);
      const auto score = metric.score(segments(name + ".hyp"), segments(name + ".ref"));
      EXPECT_EQ(with_signature(metric, score.line), line.substr(tab + 1)) << name;
    }
    EXPECT_GT(cases, 100);
  }
}

TEST_F(SacreBleuTest, LowersEveryCharacterAsPython) {
  const auto capitals = segments("lower.in");
  const auto expected = segments("lower.out");
  ASSERT_GT(capitals.size(), 1000U);
  ASSERT_EQ(capitals.size(), expected.size());
  for (std::size_t i = 0; i < capitals.size(); ++i) {
    ASSERT_EQ(lower_case(capitals[i]), expected[i]) << "segment " << i << ": " << capitals[i];
  }
}

}  // namespace
}  // namespace evenkeel::examples::translation
