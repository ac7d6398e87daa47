// SPDX-License-Identifier: MIT
#include "translation/translate_lines.hpp"

#include "common/temporary_folder.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <fstream>
#include <future>
#include <sstream>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

class TranslateLinesTest : public ::testing::Test {
 protected:
  TranslateLinesTest() {
    ensemble_.push_back(make());
    options_.decode.beam = 2;
  }

  static TrainedModel make() {
    torch::manual_seed(3);
    Config config;
    config.encoder_layers = config.decoder_layers = 1;
    config.embed_dim = 16;
    config.num_heads = 2;
    config.dim_feedforward = 32;
    config.device = "cpu";
    const std::vector<std::string> words{"sun moon", "tree river stone", "bird fish"};
    const Vocabularies vocabularies(Vocabulary::train(words, 40));
    auto model = make_model(config, vocabularies.sizes());
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.mul_(1.7);
    model->eval();
    return {config, vocabularies, model, 0};
  }

  std::vector<std::string> translate(const std::string& text) {
    std::ofstream(folder_ / "in") << text;
    LineReader reader(folder_ / "in");
    FileWriter writer(folder_ / "out");
    translate_lines(ensemble_, reader, writer, options_, [&](const std::string& warning) {
      warnings_.push_back(warning);
    });
    writer.commit();
    std::vector<std::string> lines;
    std::istringstream stream(bytes_of(folder_ / "out"));
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }

  TemporaryFolder folder_;
  std::vector<TrainedModel> ensemble_;
  TranslateLinesOptions options_;
  std::vector<std::string> warnings_;
};

TEST_F(TranslateLinesTest, EveryLineHasItsPlaceWhateverTheBatches) {
  const std::string text = "sun\n\nmoon tree river\nbird\n \nfish stone\n";
  const auto expected = translate(text);
  ASSERT_EQ(expected.size(), 6U);
  EXPECT_EQ(expected[1], "");
  for (const int64_t tokens : {1, 10, 30}) {
    options_.decode.batch_tokens = tokens;
    options_.batches_ahead = 1;
    EXPECT_EQ(translate(text), expected) << tokens;
  }
}

TEST_F(TranslateLinesTest, OfAnEndlessLineTheStartIsTranslatedAndItIsSaid) {
  options_.max_length = 6;
  std::string endless;
  for (int i = 0; i < 10'000; ++i) endless += "sun ";
  const auto lines = translate("moon\n" + endless + "\nmoon\n" + endless.substr(0, 4000));
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[0], lines[2]);
  EXPECT_EQ(lines[1], lines[3]);
  ASSERT_EQ(warnings_.size(), 2U);
  EXPECT_EQ(warnings_[0],
            "line 2 has more than 6 pieces, and only those are translated: see --max-length");
}

TEST_F(TranslateLinesTest, TheWholeBeamIsWrittenWithScoresWhereAskedFor) {
  const std::string text = "sun\n\nmoon tree river\n";
  const auto best = translate(text);
  options_.n_best = true;
  options_.decode.batch_tokens = 1;
  options_.batches_ahead = 1;
  const auto lines = translate(text);
  ASSERT_EQ(lines.size(), 5U);
  const std::vector<std::string> numbers{"0", "0", "1", "2", "2"};
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i].rfind(numbers[i] + " ||| ", 0), 0U) << lines[i];
    EXPECT_NE(lines[i].find(" ||| LogProb= "), std::string::npos) << lines[i];
  }
  EXPECT_EQ(lines[0].rfind("0 ||| " + best[0] + " ||| LogProb= -", 0), 0U) << lines[0];
  EXPECT_EQ(lines[2], "1 |||  ||| LogProb= 0.000000 ||| 0.000000");
}

TEST_F(TranslateLinesTest, ATranslationComesBeforeTheNextLineDoes) {
  const auto expected = translate("sun\nmoon tree\n");
  std::array<int, 2> in{}, out{};
  ASSERT_EQ(::pipe(in.data()), 0);
  ASSERT_EQ(::pipe(out.data()), 0);
  auto done = std::async(std::launch::async, [&] {
    LineReader reader("/dev/fd/" + std::to_string(in[0]));
    FileWriter writer("/dev/fd/" + std::to_string(out[1]));
    translate_lines(ensemble_, reader, writer, options_, [](const std::string&) {});
    writer.commit();
    ::close(out[1]);
  });
  const auto read_line = [&] {
    std::string line;
    for (char c = 0; ::read(out[0], &c, 1) == 1 && c != '\n';) line += c;
    return line;
  };
  ASSERT_EQ(::write(in[1], "sun\n", 4), 4);
  EXPECT_EQ(read_line(), expected[0]);
  ASSERT_EQ(::write(in[1], "moon tree\n", 10), 10);
  EXPECT_EQ(read_line(), expected[1]);
  ::close(in[1]);
  done.get();
  for (const int end : {in[0], out[0]}) ::close(end);
}

}  // namespace
}  // namespace evenkeel::examples::translation
