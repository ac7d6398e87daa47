// SPDX-License-Identifier: MIT
#include "common/text.hpp"

#include "common/line_reader.hpp"
#include "temporary_folder.hpp"
#include "text_file_test.hpp"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::examples {
namespace {

using Lines = std::vector<std::string>;

std::string replace_once(std::string text, const std::string& from, const std::string& to) {
  const auto found = text.find(from);
  return found == std::string::npos ? text : text.replace(found, from.size(), to);
}

class TextTest : public TextFileTest {
 protected:
  // The error of reading such a file, with FILE for its path.
  std::string error_of(const std::string& file) const {
    try {
      read_lines(file);
    } catch (const TextError& error) {
      return replace_once(error.what(), file, "FILE");
    }
    return "no error";
  }
};

TEST_F(TextTest, ReadsPlainAndCompressedFilesAlike) {
  const std::string content = "ein Haus\n\nzwei H\u00E4user\n";
  const Lines lines = {"ein Haus", "", "zwei H\u00E4user"};

  EXPECT_EQ(read_lines(write("plain", content)), lines);
  EXPECT_EQ(read_lines(write_gzip("packed.gz", content)), lines);
  EXPECT_EQ(read_lines(write_gzip("packed_without_the_name", content)), lines);
}

TEST_F(TextTest, TakesALastLineWithoutItsEnd) {
  EXPECT_EQ(read_lines(write("without", "a\nb")), (Lines{"a", "b"}));
  EXPECT_EQ(read_lines(write("with", "a\nb\n")), (Lines{"a", "b"}));
  EXPECT_EQ(read_lines(write("and_an_empty_one", "a\nb\n\n")), (Lines{"a", "b", ""}));
}

TEST_F(TextTest, EndsLinesAtLfAndCrlfOnly) {
  EXPECT_EQ(read_lines(write("file", "a\r\nb\rc\r\r\n\u2028d\x1C\r\n\r")),
            (Lines{"a", "b\rc\r", "\u2028d\x1C", ""}));
}

TEST_F(TextTest, LeavesOutAByteOrderMarkAtTheStartOnly) {
  EXPECT_EQ(read_lines(write("file", "\uFEFFa\n\uFEFFb\n")),
            (Lines{"a",
                   "\uFEFF"
                   "b"}));
  EXPECT_EQ(read_lines(write("file", "\uFEFF\n")), (Lines{""}));
}

TEST_F(TextTest, KeepsLinesWholeAcrossTheReadersBlocks) {
  Lines lines;
  std::string content;
  for (std::size_t i = 0; i < 400; ++i) {
    std::string line;
    for (std::size_t k = 0; k < i * 7; ++k) {
      line += k % 3 == 0 ? "\u00E4" : "x";
    }
    content += line + (i % 2 == 0 ? "\r\n" : "\n");
    lines.push_back(line);
  }

  EXPECT_EQ(read_lines(write("plain", content)), lines);
  EXPECT_EQ(read_lines(write_gzip("packed.gz", content)), lines);
}

TEST_F(TextTest, SaysThatAFileIsMissing) {
  EXPECT_EQ(error_of(path("none.gz")), "FILE: cannot open: No such file or directory");
}

TEST_F(TextTest, SaysThatAFileIsAFolder) {
  EXPECT_EQ(error_of(path("")), "FILE: cannot read past 0 lines: Is a directory");
}

TEST_F(TextTest, SaysThatAFileIsEmpty) {
  EXPECT_EQ(error_of(write("empty", "")), "FILE: the file is empty");
  EXPECT_EQ(error_of(write("empty.gz", "")), "FILE: the file is empty");
  EXPECT_EQ(error_of(write_gzip("packed.gz", "")), "FILE: the file is empty");
  EXPECT_EQ(error_of(write("mark", "\uFEFF")), "FILE: the file is empty");
}

TEST_F(TextTest, SaysThatAFileIsNotGzipAsItsNameClaims) {
  EXPECT_EQ(error_of(write("plain.gz", "a\nb\n")),
            "FILE: expected gzip by its name, but the content is not");
}

TEST_F(TextTest, SaysThatAGzipFileIsCutOff) {
  std::string content;
  for (int i = 0; i < 20000; ++i) {
    content += std::to_string(i * 7919) + "\n";
  }
  const auto whole = bytes_of(write_gzip("whole.gz", content));

  // from within the header to just before the last byte of the length
  for (const auto size : {std::size_t{5}, std::size_t{12}, whole.size() / 2, whole.size() - 1}) {
    const auto error = error_of(write("cut.gz", whole.substr(0, size)));
    EXPECT_EQ(error.rfind("FILE: cannot read past ", 0), 0U) << error;
    EXPECT_NE(error.find(" lines: "), std::string::npos) << error;
    EXPECT_NE(error.find("unexpected end of file"), std::string::npos) << error;
  }
}

TEST_F(TextTest, SaysThatAGzipFileIsDamaged) {
  auto bytes = bytes_of(write_gzip("file.gz", "one line\nand another\n"));
  bytes[bytes.size() - 6] = static_cast<char>(bytes[bytes.size() - 6] ^ 1);  // in the check sum

  const auto error = error_of(write("file.gz", bytes));

  EXPECT_NE(error.find("incorrect data check"), std::string::npos) << error;
}

struct Utf8Case {
  const char* name;
  const char* bytes;  // after "\nab", before "c\n"
  const char* value;  // nullptr: well-formed
  friend std::ostream& operator<<(std::ostream& os, const Utf8Case& c) { return os << c.name; }
};

class Utf8Test : public TextTest, public ::testing::WithParamInterface<Utf8Case> {};

TEST_P(Utf8Test, IsToldFromOtherBytes) {
  const auto& c = GetParam();
  const auto file = write("file", std::string("\uFEFFfirst\nab") + c.bytes + "c\n");

  if (c.value == nullptr) {
    EXPECT_EQ(read_lines(file)[1], std::string("ab") + c.bytes + "c");
  } else {
    EXPECT_EQ(error_of(file),
              std::string("FILE:2: broken UTF-8 at byte offset 2 of the line: ") + c.value);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sequences,
    Utf8Test,
    ::testing::Values(Utf8Case{"Latin1", "\xE9", "0xE9"},
                      Utf8Case{"StrayContinuation", "\x80", "0x80"},
                      Utf8Case{"MissingContinuation", "\xE2\x82", "0xE2"},
                      Utf8Case{"OverlongSlash", "\xC0\xAF", "0xC0"},
                      Utf8Case{"OverlongTwoBytes", "\xC1\xBF", "0xC1"},
                      Utf8Case{"OverlongThreeBytes", "\xE0\x9F\xBF", "0xE0"},
                      Utf8Case{"OverlongFourBytes", "\xF0\x8F\xBF\xBF", "0xF0"},
                      Utf8Case{"FirstSurrogate", "\xED\xA0\x80", "0xED"},
                      Utf8Case{"LastSurrogate", "\xED\xBF\xBF", "0xED"},
                      Utf8Case{"AboveUnicode", "\xF4\x90\x80\x80", "0xF4"},
                      Utf8Case{"FiveBytes", "\xF8\x88\x80\x80\x80", "0xF8"},
                      Utf8Case{"Utf16Mark", "\xFF\xFE", "0xFF"},
                      Utf8Case{"SmallestTwoBytes", "\xC2\x80", nullptr},
                      Utf8Case{"SmallestThreeBytes", "\xE0\xA0\x80", nullptr},
                      Utf8Case{"BeforeSurrogates", "\xED\x9F\xBF", nullptr},
                      Utf8Case{"AfterSurrogates", "\xEE\x80\x80", nullptr},
                      Utf8Case{"SmallestFourBytes", "\xF0\x90\x80\x80", nullptr},
                      Utf8Case{"LargestOfAll", "\xF4\x8F\xBF\xBF", nullptr}),
    ::testing::PrintToStringParamName());

TEST_F(TextTest, FindsASequenceCutOffByTheEndOfTheFile) {
  EXPECT_EQ(error_of(write("file", "a\xF0\x9F\x98")),
            "FILE:1: broken UTF-8 at byte offset 1 of the line: 0xF0");
}

TEST_F(TextTest, RefusesBytesBehindTheLastMemberOfAGzipFile) {
  auto bytes = bytes_of(write_gzip("file.gz", "one line\n"));
  bytes += bytes_of(write_gzip("file.gz", "and another\n"));

  EXPECT_EQ(read_lines(write("two.gz", bytes)), (Lines{"one line", "and another"}));
  EXPECT_EQ(read_lines(write("padded.gz", bytes + std::string(512, '\0'))),
            (Lines{"one line", "and another"}));
  EXPECT_EQ(error_of(write("garbage.gz", bytes + "garbage")),
            "FILE: cannot read past 2 lines: the gzip data ends, but other bytes follow it");
}

TEST_F(TextTest, NamesOtherFormats) {
  const auto expect = [&](const std::string& content, const std::string& is) {
    EXPECT_EQ(error_of(write("file", content)),
              "FILE: expected UTF-8 text, plain or compressed with gzip, but it is " + is);
  };
  expect(std::string("\xFD"
                     "7zXZ\0\0\4",
                     8),
         "compressed with xz");
  expect("BZh91AY&SY\x01\x02", "compressed with bzip2");
  expect("\x28\xB5\x2F\xFD\x04", "compressed with zstd");
  expect("PK\x03\x04", "a zip archive");
  expect(std::string("\xFF\xFE"
                     "a\0",
                     4),
         "UTF-16, by its byte order mark");
  expect(std::string("\xFE\xFF\0a", 4), "UTF-16, by its byte order mark");
  expect(std::string("\xFF\xFE\0\0a\0\0\0", 8), "UTF-32, by its byte order mark");
  EXPECT_EQ(read_lines(write("text", "BZh9 is text")), (Lines{"BZh9 is text"}));
  EXPECT_EQ(read_lines(write("short", "P")), (Lines{"P"}));
}

TEST_F(TextTest, RefusesNulBytes) {
  EXPECT_EQ(
      error_of(write("one", std::string("a\nb\0c\n", 6))),
      "FILE:2: a NUL at byte offset 1 of the line: expected UTF-8 text; UTF-16 is converted by "
      "iconv -f UTF-16LE -t UTF-8");
  EXPECT_EQ(error_of(write("utf16", std::string("a\0b\0\n\0", 6))).rfind("FILE:1: a NUL", 0), 0U);
  EXPECT_EQ(error_of(write("big", std::string("\0a\0b\0\n", 6))).rfind("FILE:1: a NUL", 0), 0U);
}

TEST_F(TextTest, AnEndlessLineIsRefusedByNumber) {
  const auto file = write("file", "a\n" + std::string(LineReader::kLimit + 1, 'x') + "\nb\n");

  EXPECT_EQ(error_of(file),
            "FILE:2: expected lines of at most 16777216 bytes, but this one is longer");
}

TEST_F(TextTest, TheReaderCutsAnEndlessLineBetweenCharactersAndGoesOnBehindIt) {
  std::string endless(LineReader::kLimit - 1, 'x');
  endless += "\u00E4" + std::string(LineReader::kLimit, 'y');
  LineReader reader(write("file", "a\n" + endless + "\nb\n"));
  std::string line;
  ASSERT_TRUE(reader.next(line));
  EXPECT_FALSE(reader.cut());
  ASSERT_TRUE(reader.next(line));
  EXPECT_TRUE(reader.cut());
  EXPECT_EQ(line, std::string(LineReader::kLimit - 1, 'x'));
  ASSERT_TRUE(reader.next(line));
  EXPECT_EQ(line, "b");
  EXPECT_FALSE(reader.cut());
  EXPECT_FALSE(reader.next(line));
  EXPECT_EQ(reader.count(), 3U);
}

TEST_F(TextTest, TheReaderHandsOutALineOfAPipeBeforeTheNextOneIsThere) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  LineReader reader("/dev/fd/" + std::to_string(ends[0]));
  ASSERT_EQ(::write(ends[1], "P\n", 2), 2);
  std::string line;
  ASSERT_TRUE(reader.next(line));
  EXPECT_EQ(line, "P");
  EXPECT_TRUE(reader.waits());
  ASSERT_EQ(::write(ends[1], "b\n\xE9\n", 4), 4);
  EXPECT_FALSE(reader.waits());
  ASSERT_TRUE(reader.next(line));
  EXPECT_THROW(reader.next(line), TextError);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(AsUtf8Test, ReplacesEachByteThatIsNoPartOfIt) {
  EXPECT_EQ(as_utf8("gr\u00FCn"), "gr\u00FCn");
  EXPECT_EQ(as_utf8("\xC3"), "\uFFFD");
  EXPECT_EQ(as_utf8("a\xFF\xE2\x82z"), "a\uFFFD\uFFFD\uFFFDz");
  EXPECT_EQ(as_utf8(""), "");
}

TEST(LeadingSpaceTest, KnowsTheSpacesOfPythonsSplit) {
  // str.isspace() of Python 3.11 holds for these and no others
  const std::vector<std::pair<unsigned, unsigned>> ranges = {{0x09, 0x0D},
                                                             {0x1C, 0x20},
                                                             {0x85, 0x85},
                                                             {0xA0, 0xA0},
                                                             {0x1680, 0x1680},
                                                             {0x2000, 0x200A},
                                                             {0x2028, 0x2029},
                                                             {0x202F, 0x202F},
                                                             {0x205F, 0x205F},
                                                             {0x3000, 0x3000}};
  for (unsigned code = 0; code < 0x10000; ++code) {
    std::string text;
    if (code < 0x80) {
      text = {static_cast<char>(code)};
    } else if (code < 0x800) {
      text = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
    } else {
      text = {static_cast<char>(0xE0 | code >> 12),
              static_cast<char>(0x80 | (code >> 6 & 0x3F)),
              static_cast<char>(0x80 | (code & 0x3F))};
    }
    bool space = false;
    for (const auto& [first, last] : ranges) {
      space = space || (code >= first && code <= last);
    }
    ASSERT_EQ(leading_space(text + "x"), space ? text.size() : 0U) << std::hex << code;
  }
  EXPECT_EQ(leading_space(""), 0U);
  EXPECT_EQ(leading_space("\xE3\x80"), 0U);
}

}  // namespace
}  // namespace evenkeel::examples
