// SPDX-License-Identifier: MIT
#include "common/vocabulary.hpp"
#include "translation/bleu.hpp"
#include "translation/parallel_text.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

struct RealCase {
  const char* name;
  const char* source;
  const char* target;
  friend std::ostream& operator<<(std::ostream& os, const RealCase& c) { return os << c.name; }
};

class RealTextVocabularyTest : public ::testing::TestWithParam<RealCase> {};

// What decoding loses of the references is lost for every translation.
TEST_P(RealTextVocabularyTest, LosesLessThanOneBleuOfTheReferences) {
  const char* data = std::getenv("EVENKEEL_DATA_DIR");
  if (data == nullptr || *data == '\0') {
    GTEST_SKIP() << "EVENKEEL_DATA_DIR is not set";
  }
  const auto source = std::string(data) + "/" + GetParam().source;
  const auto target = std::string(data) + "/" + GetParam().target;
  if (!std::filesystem::exists(source) || !std::filesystem::exists(target)) {
    GTEST_SKIP() << source << " or its translation is absent";
  }
  const auto text = read_parallel({source}, {target});

  const auto trained = Vocabulary::train(text.source, text.target, 2000);

  EXPECT_EQ(trained.size(), 2000);
  for (const auto* side : {&text.source, &text.target}) {
    std::vector<std::string> decoded;
    for (const auto& sentence : *side) {
      decoded.push_back(trained.decode(trained.encode(sentence)));
    }
    EXPECT_GT(corpus_bleu(decoded, *side).score, 99.0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sets,
    RealTextVocabularyTest,
    ::testing::Values(
        RealCase{"Multi30k", "multi30k/val.de.gz", "multi30k/val.en.gz"},
        RealCase{"PackageDescriptions", "ddtp-en-it/valid.en.gz", "ddtp-en-it/valid.it.gz"}),
    ::testing::PrintToStringParamName());

}  // namespace
}  // namespace evenkeel::examples::translation
