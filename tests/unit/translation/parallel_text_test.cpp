// SPDX-License-Identifier: MIT
#include "translation/parallel_text.hpp"

#include "common/text.hpp"
#include "common/text_file_test.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

using Lines = std::vector<std::string>;

class ParallelTextTest : public TextFileTest {};

TEST_F(ParallelTextTest, PutsFilesOneAfterAnother) {
  const auto text = read_parallel({write("1.de", "a\nb\n"), write_gzip("2.de.gz", "c\n")},
                                  {write_gzip("1.en.gz", "A\nB\n"), write("2.en", "C")});

  EXPECT_EQ(text.source, (Lines{"a", "b", "c"}));
  EXPECT_EQ(text.target, (Lines{"A", "B", "C"}));
}

TEST_F(ParallelTextTest, TakesBothSidesFromOneFileWhereNoTargetIsNamed) {
  const auto text =
      read_parallel({write("1.tsv", "a b\tA\n\tB\n"), write_gzip("2.tsv.gz", "c\t")}, {});

  EXPECT_EQ(text.source, (Lines{"a b", "", "c"}));
  EXPECT_EQ(text.target, (Lines{"A", "B", ""}));
}

std::string parallel_error_of(const Lines& source_files, const Lines& target_files) {
  try {
    read_parallel(source_files, target_files);
  } catch (const TextError& error) {
    return error.what();
  }
  return "no error";
}

TEST_F(ParallelTextTest, RefusesFilesOfDifferentLengthEvenIfTheSumsAgree) {
  const auto one = write("one", "1\n");
  const auto two = write("two", "1\n2\n");

  EXPECT_EQ(parallel_error_of({one, two}, {two, one}),
            one + " has 1 line, but " + two + " has 2 lines");
}

TEST_F(ParallelTextTest, RefusesDifferentOrNoNumbersOfFiles) {
  const auto file = write("file", "1\n");

  EXPECT_EQ(
      parallel_error_of({file, file}, {file}),
      "read_parallel: expected as many source as target files, at least one, but got 2 and 1");
  EXPECT_EQ(
      parallel_error_of({}, {}),
      "read_parallel: expected as many source as target files, at least one, but got 0 and 0");
}

TEST_F(ParallelTextTest, RefusesLinesOfOneFileWithoutOneTab) {
  for (const auto& [name, line, tabs] :
       {std::array{"none", "a", "0 tabs"}, {"two", "a\tb\tc", "2 tabs"}}) {
    const auto file = write(name, std::string("x\ty\n") + line + "\n");
    EXPECT_EQ(parallel_error_of({file}, {}),
              file +
                  ":2: expected a source and a target with one tab between, since no file of "
                  "targets is named, but got " +
                  tabs);
  }
}

TEST(DropEmptyPairsTest, DropsAPairIfEitherSideIsBlank) {
  ParallelText text{{"a", "", "b", "c", " \t\u3000\u00A0", "d"},
                    {"A", "B", "", "C", "D", "\u200B"}};

  EXPECT_EQ(drop_empty_pairs(text), 3);
  EXPECT_EQ(text.source, (Lines{"a", "c", "d"}));
  EXPECT_EQ(text.target, (Lines{"A", "C", "\u200B"}));
  EXPECT_EQ(drop_empty_pairs(text), 0);
}

TEST(DropEmptyPairsTest, RefusesSidesOfDifferentSize) {
  ParallelText text{{"a", "b"}, {"A"}};

  try {
    drop_empty_pairs(text);
    FAIL() << "no error";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "drop_empty_pairs: expected sides of equal size, but got 2 and 1");
  }
}

TEST(RealTextTest, IsReadWithAllItsLines) {
  const char* data = std::getenv("EVENKEEL_DATA_DIR");
  if (data == nullptr || *data == '\0') {
    GTEST_SKIP() << "EVENKEEL_DATA_DIR is not set";
  }
  const auto folder = std::string(data) + "/multi30k/";
  if (!std::filesystem::exists(folder + "test_2016_flickr.de.gz")) {
    GTEST_SKIP() << folder << " lacks the test set";
  }

  auto text =
      read_parallel({folder + "test_2016_flickr.de.gz"}, {folder + "test_2016_flickr.en.gz"});

  EXPECT_EQ(text.source.size(), 1000U);
  EXPECT_EQ(drop_empty_pairs(text), 0);
}

}  // namespace
}  // namespace evenkeel::examples::translation
