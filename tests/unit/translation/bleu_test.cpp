// SPDX-License-Identifier: MIT
#include "translation/bleu.hpp"

#include "sacrebleu_reference.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

TEST(Tokenize13aTest, SeparatesSignsButNotApostrophesAndHyphens) {
  EXPECT_EQ(tokenize_13a("(don't) well-known: a/b!"), "( don't ) well-known : a / b !");
}

TEST(Tokenize13aTest, SeparatesPointsUnlessBetweenDigits) {
  EXPECT_EQ(tokenize_13a("1,000.5 a.b 5. .5"), "1,000.5 a . b 5 . . 5");
}

TEST(Tokenize13aTest, SeparatesHyphensAfterDigitsOnly) {
  EXPECT_EQ(tokenize_13a("9-10 a-9 9-a"), "9 - 10 a-9 9 - a");
}

TEST(Tokenize13aTest, LeavesTheSecondOfTwoOverlappingMatchesAlone) {
  // "a." is the match, so ".5" cannot be one as well
  EXPECT_EQ(tokenize_13a("a..5"), "a . .5");
}

TEST(Tokenize13aTest, ReplacesEntitiesOneAfterAnother) {
  EXPECT_EQ(tokenize_13a("&quot;&amp;lt;&amp;quot;"), "\" < & quot ;");
}

TEST(Tokenize13aTest, JoinsLinesAtHyphens) {
  EXPECT_EQ(tokenize_13a("a-\nb\nc <skipped>d"), "ab c d");
}

TEST(Tokenize13aTest, CountsOtherDigitsAsNoDigits) {
  EXPECT_EQ(tokenize_13a("\u0663.\u0665 \uFF11,\uFF12"), "\u0663 . \u0665 \uFF11 , \uFF12");
}

TEST(Tokenize13aTest, SplitsAtTheSpacesOfUnicode) {
  EXPECT_EQ(tokenize_13a("\u3000a\u00A0b\u2028c\x1C"
                         "d\u200Be\t"),
            "a b c d\u200Be");
}

TEST(BleuTest, OfTheReferencesThemselvesIs100) {
  const std::vector<std::string> text = {"A small house, by the sea.", "It is raining."};

  const auto bleu = corpus_bleu(text, text);

  EXPECT_NEAR(bleu.score, 100.0, kTolerance);
  EXPECT_EQ(bleu.counts, bleu.totals);
  EXPECT_EQ(bleu.hypothesis_length, 12);
}

TEST(BleuTest, IsTheFormulaOnCountsDoneByHand) {
  // the cat sat on a mat . / the cat sat on the mat .
  const auto bleu = corpus_bleu({"the cat sat on a mat."}, {"the cat sat on the mat."});

  EXPECT_EQ(bleu.counts, (std::array<int64_t, 4>{6, 4, 2, 1}));
  EXPECT_EQ(bleu.totals, (std::array<int64_t, 4>{7, 6, 5, 4}));
  EXPECT_NEAR(bleu.score, 100.0 * std::pow(6.0 / 7 * 4 / 6 * 2 / 5 * 1 / 4, 0.25), kTolerance);
}

TEST(BleuTest, CountsANGramAtMostAsOftenAsTheReferenceHasIt) {
  const auto bleu = corpus_bleu({"the the the the"}, {"the cat the dog"});

  EXPECT_EQ(bleu.counts[0], 2);
  EXPECT_EQ(bleu.totals[0], 4);
}

TEST(BleuTest, MatchesNothingAcrossSentences) {
  const auto bleu = corpus_bleu({"a b", "c d"}, {"c d", "a b"});

  EXPECT_EQ(bleu.counts, (std::array<int64_t, 4>{0, 0, 0, 0}));
  EXPECT_EQ(bleu.score, 0.0);
}

TEST(BleuTest, HalvesTheSmoothedMatchWithEachEmptyOrder) {
  const auto bleu = corpus_bleu({"e d c b a"}, {"a b c d e"});

  EXPECT_NEAR(bleu.precisions[0], 100.0, kTolerance);
  EXPECT_NEAR(bleu.precisions[1], 100.0 / 2 / 4, kTolerance);
  EXPECT_NEAR(bleu.precisions[2], 100.0 / 4 / 3, kTolerance);
  EXPECT_NEAR(bleu.precisions[3], 100.0 / 8 / 2, kTolerance);
}

TEST(BleuTest, PunishesShortHypothesesOnly) {
  const std::string sentence = "one two three four five six";
  const auto shorter = corpus_bleu({"one two three four"}, {sentence});
  const auto longer = corpus_bleu({sentence + " seven"}, {sentence});

  EXPECT_NEAR(shorter.brevity_penalty, std::exp(1.0 - 6.0 / 4.0), kTolerance);
  EXPECT_EQ(longer.brevity_penalty, 1.0);
}

TEST(BleuTest, IsZeroIfNoHypothesisHasFourTokens) {
  const auto bleu = corpus_bleu({"a b c", "d"}, {"a b c", "d"});

  EXPECT_EQ(bleu.score, 0.0);
  EXPECT_EQ(bleu.precisions, (std::array<double, 4>{100.0, 100.0, 100.0, 0.0}));
}

TEST(BleuTest, StripsSentencesBeforeItJoinsLinesAtHyphens) {
  EXPECT_NEAR(corpus_bleu({"a b c d-\n"}, {"a b c d-"}).score, 100.0, kTolerance);
}

TEST(BleuTest, OfEmptyHypothesesIsZero) {
  const auto bleu = corpus_bleu({"", " "}, {"a", "b c"});

  EXPECT_EQ(bleu.score, 0.0);
  EXPECT_EQ(bleu.brevity_penalty, 0.0);
  EXPECT_EQ(bleu.reference_length, 3);
}

std::string error_of(const std::vector<std::string>& hypotheses,
                     const std::vector<std::string>& references) {
  try {
    corpus_bleu(hypotheses, references);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

TEST(BleuTest, RefusesDifferentOrNoNumbersOfSentences) {
  EXPECT_EQ(
      error_of({"a", "b"}, {"a"}),
      "corpus_bleu: expected as many hypotheses as references, at least one, but got 2 and 1");
  EXPECT_EQ(
      error_of({}, {}),
      "corpus_bleu: expected as many hypotheses as references, at least one, but got 0 and 0");
}

TEST(BleuTest, PrintsSacreBleusLine) {
  EXPECT_EQ(to_string(corpus_bleu({"The cat sat on a mat."}, {"The cat sat on the mat."})),
            "BLEU = 48.89 85.7/66.7/40.0/25.0 (BP = 1.000 ratio = 1.000 hyp_len = 7 ref_len = 7)");
}

TEST_F(SacreBleuTest, GivesTheSameTokens) {
  const auto lines = segments("tokens.in");
  const auto tokens = segments("tokens.out");

  ASSERT_GT(lines.size(), 0U);
  ASSERT_EQ(lines.size(), tokens.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    ASSERT_EQ(tokenize_13a(lines[i]), tokens[i]) << "segment " << i << ": " << lines[i];
  }
}

TEST_F(SacreBleuTest, GivesTheSameScoresAndCounts) {
  auto scores = open("scores.txt");
  int cases = 0;
  for (std::string line; std::getline(scores, line); ++cases) {
    std::istringstream fields(line);
    std::string name;
    Bleu expected;
    fields >> name >> expected.score;
    for (auto& precision : expected.precisions) {
      fields >> precision;
    }
    fields >> expected.brevity_penalty >> expected.hypothesis_length >> expected.reference_length;
    for (auto* numbers : {&expected.counts, &expected.totals}) {
      for (auto& number : *numbers) {
        fields >> number;
      }
    }
    ASSERT_TRUE(fields) << line;
    SCOPED_TRACE(name);

    const auto bleu = corpus_bleu(segments(name + ".hyp"), segments(name + ".ref"));

    EXPECT_NEAR(bleu.score, expected.score, kTolerance);
    EXPECT_NEAR(bleu.brevity_penalty, expected.brevity_penalty, kTolerance);
    for (std::size_t n = 0; n < 4; ++n) {
      EXPECT_NEAR(bleu.precisions[n], expected.precisions[n], kTolerance);
    }
    EXPECT_EQ(bleu.hypothesis_length, expected.hypothesis_length);
    EXPECT_EQ(bleu.reference_length, expected.reference_length);
    EXPECT_EQ(bleu.counts, expected.counts);
    EXPECT_EQ(bleu.totals, expected.totals);
  }
  EXPECT_GT(cases, 100);
}

TEST_F(SacreBleuTest, PrintsTheSameLines) {
  auto lines = open("lines.txt");
  int cases = 0;
  for (std::string line; std::getline(lines, line); ++cases) {
    const auto tab = line.find('\t');
    const auto name = line.substr(0, tab);

    EXPECT_EQ(to_string(corpus_bleu(segments(name + ".hyp"), segments(name + ".ref"))),
              line.substr(tab + 1))
        << name;
  }
  EXPECT_GT(cases, 100);
}

}  // namespace
}  // namespace evenkeel::examples::translation
