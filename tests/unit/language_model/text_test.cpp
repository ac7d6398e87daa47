// SPDX-License-Identifier: MIT
#include "common/text_file_test.hpp"
#include "common/vocabulary.hpp"
#include "language_model/documents.hpp"
#include "language_model/packed_text.hpp"
#include "language_model/tokenizer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel::examples::language_model {
namespace {

using Documents = std::vector<Document>;
using Tokens = std::vector<int64_t>;

class DocumentsTest : public TextFileTest {};

TEST_F(DocumentsTest, AreFilesParagraphsOrLines) {
  const auto first = write("first", "a\nb\n\n\nc\n");
  const auto second = write_gzip("second.gz", "d\n");
  EXPECT_EQ(read_documents({first, second}, "file"), (Documents{{"a", "b", "", "", "c"}, {"d"}}));
  EXPECT_EQ(read_documents({first, second}, "paragraph"), (Documents{{"a", "b"}, {"c"}, {"d"}}));
  EXPECT_EQ(read_documents({first, second}, "line"), (Documents{{"a"}, {"b"}, {"c"}, {"d"}}));
}

TEST_F(DocumentsTest, AreKnownByTheirLinesAndEnds) {
  const Documents documents{{"a", "b"}, {"c"}};
  EXPECT_EQ(fingerprint(documents).lines, 3);
  EXPECT_EQ(fingerprint(documents).bytes, 6);
  EXPECT_EQ(fingerprint(documents), fingerprint(Documents{{"a", "b"}, {"c"}}));
  EXPECT_NE(fingerprint(documents), fingerprint(Documents{{"a"}, {"b", "c"}}));
  EXPECT_NE(fingerprint(documents), fingerprint(Documents{{"a", "b"}, {"C"}}));
}

TEST(TokenizerTest, BytesLoseNothing) {
  const Tokenizer bytes;
  const std::string text = "int  main() {\n\treturn 0;\n}\n\u00E4";
  EXPECT_EQ(bytes.size(), 257);
  EXPECT_EQ(bytes.decode(bytes.encode(text)), text);
  EXPECT_EQ(bytes.encode(Documents{{"a", "b"}, {"c"}}), (Tokens{'a', '\n', 'b', 256, 'c', 256}));
}

TEST(TokenizerTest, PiecesKeepLineEnds) {
  const Tokenizer pieces(
      Vocabulary::train(std::vector<std::string>{"the sun and the moon", "a tree and a stone"},
                        30));
  const std::string text = "the moon\nand the sun";
  EXPECT_EQ(pieces.decode(pieces.encode(text)), text);
  const auto tokens = pieces.encode(Documents{{"the moon", "and the sun"}, {"a tree"}});
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), pieces.end()), 2);
  EXPECT_EQ(tokens.back(), pieces.end());
  EXPECT_EQ(pieces.decode(tokens), text);
}

TEST(PackedTextTest, EveryTokenButTheFirstIsPredictedOnce) {
  const PackedText text({10, 11, 12, 13, 14, 15, 16, 17}, 3);
  ASSERT_EQ(text.size(), 2);
  EXPECT_EQ(text.rows({0, 1}), (Tokens{10, 11, 12, 13, 13, 14, 15, 16}));
  EXPECT_EQ(text.rows({1}), (Tokens{13, 14, 15, 16}));
  EXPECT_THROW(text.rows({2}), std::out_of_range);
  EXPECT_EQ(PackedText({1, 2, 3}, 3).size(), 0);
  EXPECT_EQ(PackedText({1, 2, 3, 4}, 3).size(), 1);
  EXPECT_EQ(PackedText({}, 3).size(), 0);
  EXPECT_THROW(PackedText({}, 0), std::invalid_argument);
}

TEST(PackedTextTest, AnEpochHasEverySequenceOnceInAnOrderOfItsOwn) {
  const PackedText text(Tokens(101, 7), 5);
  ASSERT_EQ(text.size(), 20);
  const auto flat = [&](int64_t epoch, uint64_t seed) {
    Tokens all;
    const auto batches = text.epoch(epoch, 8, seed);
    EXPECT_EQ(batches.size(), 3);
    for (const auto& batch : batches) all.insert(all.end(), batch.begin(), batch.end());
    return all;
  };
  auto sorted = flat(0, 1);
  std::sort(sorted.begin(), sorted.end());
  for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(sorted.at(static_cast<size_t>(i)), i);
  EXPECT_EQ(flat(3, 1), flat(3, 1));
  EXPECT_NE(flat(3, 1), flat(4, 1));
  EXPECT_NE(flat(3, 1), flat(3, 2));
}

}  // namespace
}  // namespace evenkeel::examples::language_model
