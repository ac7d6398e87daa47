// SPDX-License-Identifier: MIT
#include "common/vocabulary.hpp"

#include "common/files.hpp"
#include "common/random.hpp"

#include <gtest/gtest.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace evenkeel::examples {
namespace {

// Made-up sentences of made-up words, the same on every machine.
std::vector<std::string> sentences(std::size_t count) {
  const std::vector<std::string> syllables = {"ba",
                                              "ke",
                                              "li",
                                              "mo",
                                              "nu",
                                              "sch\u00F6",
                                              "gr\u00E4",
                                              "ra",
                                              "ste",
                                              "tri",
                                              "vo",
                                              "wu",
                                              "ein",
                                              "zel",
                                              "\u00DFer"};
  SplitMix64 random(5);
  std::vector<std::string> words(200);
  for (auto& word : words) {
    for (auto left = 1 + random.below(4); left > 0; --left) {
      word += syllables[random.below(syllables.size())];
    }
  }
  std::vector<std::string> result;
  for (std::size_t i = 0; i < count; ++i) {
    std::string sentence;
    for (auto left = 3 + random.below(10); left > 0; --left) {
      sentence += words[random.below(words.size())] + (left == 1 ? "." : " ");
    }
    result.push_back(sentence);
  }
  return result;
}

const Vocabulary& vocabulary() {
  static const auto trained = Vocabulary::train(sentences(500), 120);
  return trained;
}

template <typename Action>
std::string error_of(const Action& action) {
  try {
    action();
  } catch (const VocabularyError& error) {
    return error.what();
  }
  return "no error";
}

TEST(VocabularyTest, HasTheSizeAskedFor) {
  EXPECT_EQ(vocabulary().size(), 120);
}

TEST(VocabularyTest, DecodesWhatItEncoded) {
  for (const auto& sentence : sentences(600)) {  // the last 100 are not in the training text
    EXPECT_EQ(vocabulary().decode(vocabulary().encode(sentence)), sentence);
  }
}

TEST(VocabularyTest, EncodesIntoPiecesWithoutMarks) {
  for (const auto& sentence : sentences(600)) {
    const auto ids = vocabulary().encode(sentence);
    EXPECT_GT(*std::min_element(ids.begin(), ids.end()), kEos) << sentence;
    EXPECT_LT(*std::max_element(ids.begin(), ids.end()), vocabulary().size()) << sentence;
  }
}

TEST(VocabularyTest, EncodesNothingAsNothing) {
  EXPECT_TRUE(vocabulary().encode("").empty());
  EXPECT_EQ(vocabulary().decode({}), "");
}

TEST(VocabularyTest, NeverReadsMarksFromText) {
  for (const char* text : {"</s>", "<s>", "<pad>", "bake </s> limo<s>"}) {
    const auto ids = vocabulary().encode(text);
    for (const auto mark : {kPad, kBos, kEos}) {
      EXPECT_EQ(std::count(ids.begin(), ids.end(), mark), 0) << text;
    }
  }
}

TEST(VocabularyTest, DecodesUpToEosAndPassesOverPadAndBos) {
  const auto ids = vocabulary().encode("bake limo nura");
  std::vector<int64_t> row = {kBos};
  row.insert(row.end(), ids.begin(), ids.end());
  row.insert(row.begin() + 2, kPad);
  row.insert(row.end(), {kEos, ids[0], kPad});

  EXPECT_EQ(vocabulary().decode(row), "bake limo nura");
}

TEST(VocabularyTest, EncodesUnseenCharactersAsUnknown) {
  const auto ids = vocabulary().encode("bake \u6F22 limo");

  EXPECT_EQ(std::count(ids.begin(), ids.end(), kUnk), 1);
  EXPECT_NE(vocabulary().decode(ids).find("\u2047"), std::string::npos);
}

TEST(VocabularyTest, KnowsEverythingWithByteFallback) {
  VocabularyOptions options;
  options.byte_fallback = true;
  const auto bytes = Vocabulary::train(sentences(500), 400, options);
  const std::string text = "bake \u6F22\U0001F600 limo";

  const auto ids = bytes.encode(text);

  EXPECT_EQ(std::count(ids.begin(), ids.end(), kUnk), 0);
  EXPECT_EQ(bytes.decode(ids), text);
}

TEST(VocabularyTest, TrainsByteForByteTheSame) {
  const auto text = sentences(500);
  for (const auto model : {PieceModel::kUnigram, PieceModel::kBpe}) {
    VocabularyOptions options;
    options.model = model;
    EXPECT_EQ(Vocabulary::train(text, 120, options).serialized(),
              Vocabulary::train(text, 120, options).serialized());
  }
}

TEST(VocabularyTest, TrainsBpe) {
  VocabularyOptions options;
  options.model = PieceModel::kBpe;
  const auto bpe = Vocabulary::train(sentences(500), 120, options);

  EXPECT_EQ(bpe.size(), 120);
  EXPECT_EQ(bpe.decode(bpe.encode("bake limo nura")), "bake limo nura");
  EXPECT_NE(bpe.serialized(), vocabulary().serialized());
}

TEST(VocabularyTest, TrainsOnBothSides) {
  const auto joint = Vocabulary::train({"aaa bbb", "bbb aaa aaa"}, {"xxx yyy", "yyy yyy xxx"}, 20);

  for (const char* sentence : {"aaa bbb", "xxx yyy"}) {
    EXPECT_EQ(joint.decode(joint.encode(sentence)), sentence);
  }
}

TEST(VocabularyTest, TakesItsSentencesEvenlyFromTheText) {
  const std::vector<std::string> text =
      {"aaa aa", "bbb bb", "ccc cc", "ddd dd", "eee ee", "fff ff"};
  VocabularyOptions options;
  options.max_sentences = 3;

  const auto few = Vocabulary::train(text, 20, options);

  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto ids = few.encode(text[i]);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), kUnk) > 0, i % 2 == 1) << text[i];
  }
}

TEST(VocabularyTest, IsSmallerThanAskedForWhenTheTextIsTooSmall) {
  const auto small = Vocabulary::train(std::vector<std::string>{"one two", "two three"}, 8000);

  EXPECT_GT(small.size(), 8);
  EXPECT_LT(small.size(), 100);
  EXPECT_EQ(small.decode(small.encode("one three")), "one three");
}

TEST(VocabularyTest, SaysThatThereIsNoRoomForTheCharacters) {
  const auto error = error_of([] { Vocabulary::train(sentences(500), 10); });

  EXPECT_EQ(error,
            "Vocabulary: expected a size of at least 28, for the special pieces and the characters "
            "of the text, but got 10; a lower character coverage leaves out the rarest");
}

VocabularyOptions nmt_nfkc() {
  VocabularyOptions options;
  options.normalization = "nmt_nfkc";
  return options;
}

TEST(VocabularyTest, SaysThatThereIsNoText) {
  EXPECT_EQ(error_of([] { Vocabulary::train(std::vector<std::string>{}, 100); }),
            "Vocabulary: expected text to train on, but got no sentence");
  for (const char* blank : {"", " ", "\t", "\u00A0", "\u200B", "\uFFFD", "\u2581"}) {
    EXPECT_EQ(error_of([&] {
                Vocabulary::train(std::vector<std::string>{blank, ""}, 100, nmt_nfkc());
              }),
              "Vocabulary: expected text to train on, but nothing is left of 2 sentences with "
              "normalization nmt_nfkc");
  }
}

TEST(VocabularyTest, SaysThatAllTextIsTooLongOrBlank) {
  EXPECT_EQ(
      error_of([] {
        Vocabulary::train(std::vector<std::string>{std::string(4193, 'x'), "\t"}, 100, nmt_nfkc());
      }),
      "Vocabulary: expected text to train on, but nothing is left of 2 sentences with "
      "normalization nmt_nfkc");
}

TEST(VocabularyTest, TrainsOnTextWithoutLatinLetters) {
  const auto han = Vocabulary::train(std::vector<std::string>{"\u6F22\u5B57\u6F22\u5B57"}, 100);

  EXPECT_EQ(han.decode(han.encode("\u5B57\u6F22")), "\u5B57\u6F22");
}

TEST(VocabularyTest, PassesOverLongSentences) {
  const std::vector<std::string> text = {std::string(4193, 'x'), "bake limo", "limo bake"};

  const auto ids = Vocabulary::train(text, 100).encode("x");

  EXPECT_EQ(std::count(ids.begin(), ids.end(), kUnk), 1);
}

TEST(VocabularyTest, RefusesOptionsOutOfRange) {
  const auto error_with = [](int64_t size, const VocabularyOptions& options) {
    return error_of([&] { Vocabulary::train(sentences(10), size, options); });
  };
  VocabularyOptions coverage;
  coverage.character_coverage = 0.9;
  VocabularyOptions threads;
  threads.num_threads = 0;
  VocabularyOptions count;
  count.max_sentences = -1;
  VocabularyOptions normalization;
  normalization.normalization = "none";

  EXPECT_EQ(error_with(4, {}),
            "Vocabulary: expected a size of at least 5, four of them special, but got 4");
  EXPECT_EQ(error_with(100, coverage),
            "Vocabulary: expected character_coverage from 0.98 to 1, but got 0.9");
  EXPECT_EQ(error_with(100, threads), "Vocabulary: expected num_threads from 1 to 128, but got 0");
  EXPECT_EQ(error_with(100, count), "Vocabulary: expected max_sentences >= 0, but got -1");
  EXPECT_NE(error_with(100, normalization).find("none"), std::string::npos);
}

TEST(VocabularyTest, IsTheSameAfterSerializing) {
  const auto loaded = Vocabulary::load(vocabulary().serialized());

  EXPECT_EQ(loaded.serialized(), vocabulary().serialized());
  EXPECT_EQ(loaded.size(), vocabulary().size());
  for (const auto& sentence : sentences(50)) {
    EXPECT_EQ(loaded.encode(sentence), vocabulary().encode(sentence));
  }
}

TEST(VocabularyTest, IsTheSameAfterSavingToAFile) {
  const auto file = ::testing::TempDir() + "evenkeel-vocabulary-test.model";

  write_file(file, vocabulary().serialized());
  const auto loaded = Vocabulary::load_file(file);
  std::filesystem::remove(file);

  EXPECT_EQ(loaded.serialized(), vocabulary().serialized());
}

TEST(VocabularyTest, SaysWhichFileCannotBeRead) {
  const auto error = [](const std::string& file) {
    try {
      Vocabulary::load_file(file);
    } catch (const FileError& thrown) {
      return std::string(thrown.what());
    }
    return std::string("no error");
  };
  const auto file = ::testing::TempDir() + "evenkeel-no-such-folder/model";

  EXPECT_EQ(error(file), file + ": No such file or directory");
  EXPECT_EQ(error(::testing::TempDir()), ::testing::TempDir() + ": Is a directory");
}

TEST(VocabularyTest, RefusesBytesThatAreNoModel) {
  const auto error = error_of([] { Vocabulary::load("not a model"); });

  EXPECT_EQ(error.rfind("Vocabulary: 11 bytes are no SentencePiece model", 0), 0U) << error;
  EXPECT_NE(error_of([] { Vocabulary::load(""); }), "no error");
  const auto& bytes = vocabulary().serialized();
  EXPECT_NE(error_of([&] { Vocabulary::load(bytes.substr(0, bytes.size() / 2)); }), "no error");
}

class OneSentence : public sentencepiece::SentenceIterator {
 public:
  bool done() const override { return done_; }
  void Next() override { done_ = true; }
  const std::string& value() const override { return text_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::string text_ = "one two three";
  bool done_ = false;
};

std::string train_by_spm(std::unordered_map<std::string, std::string> arguments) {
  OneSentence text;
  std::string bytes;
  arguments.insert({{"vocab_size", "100"}, {"hard_vocab_limit", "false"}, {"minloglevel", "2"}});
  EXPECT_TRUE(sentencepiece::SentencePieceTrainer::Train(arguments, &text, &bytes).ok());
  return bytes;
}

// The bytes of a field of a protobuf message.
std::string field(int number, const std::string& bytes) {
  std::string head(1, static_cast<char>(number << 3 | 2));
  for (auto size = bytes.size(); true; size >>= 7U) {
    head += static_cast<char>((size & 0x7FU) | (size > 0x7F ? 0x80U : 0U));
    if (size <= 0x7F) return head + bytes;
  }
}

TEST(VocabularyTest, RefusesATableThatLeadsOutOfTheModel) {
  // A trie in which no text is found, with other `units`, then the texts that it finds.
  const auto model_with = [](const std::vector<std::pair<std::size_t, uint32_t>>& units,
                             const std::string& texts) {
    std::vector<uint32_t> trie(256);
    for (const auto& [index, unit] : units) trie[index] = unit;
    const uint32_t size = 1024;
    const std::string table = std::string(reinterpret_cast<const char*>(&size), 4) +
                              std::string(reinterpret_cast<const char*>(trie.data()), size) + texts;
    return vocabulary().serialized() + field(3, field(2, table));
  };
  const std::string nothing(1, '\0');
  // 'b' alone, at unit 'b', is replaced by the second text, whose value is at that of offset 1.
  const uint32_t b = 0x62U | 1U << 8U | 0x62U << 10U;
  const std::string texts = nothing + "ke" + nothing;
  const auto good = Vocabulary::load(model_with({{'b', b}, {0, 1}}, texts));
  EXPECT_EQ(good.decode(good.encode("b")), "ke");

  for (const auto& damaged : {
           model_with({{'b', 0x62U | 0x1FFFFFU << 10U}}, texts),  // children far away
           model_with({{'b', b}, {0, 9}}, texts),                 // a text behind the last one
           model_with({{'b', b}, {0, 1}}, nothing + "ke"),        // one without an end
           model_with({{0, 0x1FFFFFU << 10U}}, texts),            // a root far away
           vocabulary().serialized() + field(3, field(2, std::string(8, '\0'))),
           vocabulary().serialized() + field(5, field(2, "x")),
       }) {
    EXPECT_NE(error_of([&] { Vocabulary::load(damaged); }).find("its normalization is damaged"),
              std::string::npos);
  }
}

TEST(VocabularyTest, TakesModelsWithSpecialPiecesOfOtherNumbers) {
  const std::vector<std::unordered_map<std::string, std::string>> models{
      {},  // unk, bos, eos are 0, 1, 2, and there is no pad
      {{"pad_id", "3"}},
      {{"unk_id", "3"}, {"bos_id", "0"}, {"eos_id", "1"}, {"pad_id", "2"}}};
  for (const auto& arguments : models) {
    const auto vocabulary = Vocabulary::load(train_by_spm(arguments));
    const auto ids = vocabulary.encode("one three x");
    EXPECT_EQ(std::count(ids.begin(), ids.end(), kUnk), 1);
    for (const auto id : ids) {
      EXPECT_TRUE(id == kUnk || (id > kEos && id < vocabulary.size())) << id;
    }
    EXPECT_EQ(vocabulary.decode(ids), "one three  \u2047 ");
    EXPECT_EQ(vocabulary.decode({kBos, ids[0], kPad, kEos, ids[1]}), vocabulary.decode({ids[0]}));
    const auto pieces = vocabulary.pieces();
    ASSERT_EQ(static_cast<int64_t>(pieces.size()), vocabulary.size());
    EXPECT_EQ(std::vector<std::string>(pieces.begin(), pieces.begin() + 4),
              (std::vector<std::string>{"<pad>", "<unk>", "<s>", "</s>"}));
    for (const auto id : ids) {
      if (id == kUnk) continue;
      auto text = pieces[static_cast<std::size_t>(id)];
      if (text.rfind("\u2581", 0) == 0) text = text.substr(3);  // stands for a space
      EXPECT_EQ(vocabulary.decode({id}), text);
    }
  }
}

TEST(VocabularyTest, RefusesModelsWithoutBosOrEos) {
  EXPECT_EQ(error_of([] {
              Vocabulary::load(train_by_spm({{"bos_id", "-1"}}));
            }),
            "Vocabulary: expected a model with unk, bos and eos, but their pieces are 0, -1 and 2; "
            "spm_train makes them with --unk_id, --bos_id and --eos_id from 0");
}

TEST(VocabularyTest, ChangesNoCharacterUnlessAskedTo) {
  const std::vector<std::string> odd{"a\u200Cb",
                                     "\u4F60\u597D\uFF0C\u4E16\u754C\uFF01\uFF08\uFF11\uFF09",
                                     "\u200Fa",
                                     "\uFB01ne \u00BD \u2460",
                                     "a\u00A0b",
                                     "e\u0301",
                                     "\U0001F469\u200D\U0001F680"};
  VocabularyOptions options;
  options.character_coverage = 1.0;
  const auto trained = Vocabulary::train(odd, 200, options);
  for (const auto& line : odd) EXPECT_EQ(trained.decode(trained.encode(line)), line);
}

TEST(VocabularyTest, ByteFallbackSpellsWhatIsMissingButNoLineEnd) {
  VocabularyOptions options;
  options.byte_fallback = true;
  const auto trained = Vocabulary::train(sentences(50), 400, options);
  EXPECT_EQ(trained.decode(trained.encode("bake \u6F22\u5B57")), "bake \u6F22\u5B57");
  EXPECT_EQ(trained.decode(trained.encode("a\nb")), "a b");
}

TEST(VocabularyTest, RefusesNumbersThatAreNoPieces) {
  EXPECT_EQ(error_of([] {
              vocabulary().decode({5, 120});
            }),
            "Vocabulary: expected pieces from 0 to 119, but got 120");
  EXPECT_EQ(error_of([] { vocabulary().decode({-1}); }),
            "Vocabulary: expected pieces from 0 to 119, but got -1");
}

TEST(VocabularyTest, OutlivesTheOneItWasCopiedFrom) {
  auto original = std::make_unique<Vocabulary>(Vocabulary::load(vocabulary().serialized()));
  const Vocabulary copy = *original;
  original.reset();

  EXPECT_EQ(copy.decode(copy.encode("bake limo")), "bake limo");
}

}  // namespace
}  // namespace evenkeel::examples
