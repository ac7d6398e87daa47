// SPDX-License-Identifier: MIT
#include <evenkeel/fold/state_dict.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "scratch_folder.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::bytes_of;
using test::throws;
using test::write_bytes;

/// A tensor of every dtype of the format, by the format's names.
StateDict every_type() {
  StateDict tensors;
  for (const auto& [name, type] : detail::kSafetensorsTypes) {
    const auto bytes = torch::arange(1, 49, torch::kUInt8);
    tensors[name] = type == torch::kBool ? bytes.gt(20) : bytes.view(type).clone();
  }
  return tensors;
}

class SafetensorsTest : public test::SeededTest {
 protected:
  SafetensorsTest() : file_(folder_ / "a.safetensors") {}

  void write_header(const std::string& header, const std::string& data = "1234") {
    const uint64_t size = header.size();
    write_bytes(file_,
                std::string(reinterpret_cast<const char*>(&size), sizeof size) + header + data);
  }
  ::testing::AssertionResult is_refused(const std::string& why) {
    return throws<c10::ValueError>([&] { read_safetensors(file_); }, file_ + ": " + why);
  }

  test::ScratchFolder folder_;
  std::string file_;
};

TEST_F(SafetensorsTest, ReadsBackEveryBitOfEveryType) {
  auto tensors = every_type();
  tensors["transposed"] = torch::randn({4, 6}).t();
  tensors["scalar"] = torch::tensor(7.0F);
  tensors["empty"] = torch::empty({0, 3});
  const SafetensorsMetadata metadata{{"note", "più \"quoted\"\n"}, {"empty text", ""}};
  save_safetensors(tensors, file_, metadata);
  const auto read = read_safetensors(file_);
  EXPECT_EQ(read.metadata, metadata);
  ASSERT_EQ(read.tensors.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const auto& other = read.tensors.at(name);
    EXPECT_EQ(other.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(other.sizes(), tensor.sizes()) << name;
    const auto expected = tensor.contiguous();
    EXPECT_EQ(std::memcmp(other.data_ptr(), expected.data_ptr(), expected.nbytes()), 0) << name;
  }
  EXPECT_EQ(test::names_in(folder_.path()), std::vector<std::string>{"a.safetensors"});
}

TEST_F(SafetensorsTest, WritesAnEmptyFileThatItReads) {
  save_safetensors(StateDict(), file_);
  EXPECT_TRUE(read_safetensors(file_).tensors.empty());
}

TEST_F(SafetensorsTest, StoresATensorWithTwoNamesOnce) {
  const auto weight = torch::randn({2, 3});
  save_safetensors({{"b", weight}, {"a", weight}, {"rows", weight[0]}}, file_);
  const auto read = read_safetensors(file_);
  EXPECT_EQ(read.metadata, (SafetensorsMetadata{{"b", "a"}}));
  ASSERT_EQ(read.tensors.size(), 2U);
  EXPECT_TRUE(test::same_bits(read.tensors.at("a"), weight));
  EXPECT_TRUE(test::same_bits(read.tensors.at("rows"), weight[0]));
}

TEST_F(SafetensorsTest, ReadsTensorsInAnyOrderOfTheirBytes) {
  write_header(R"({"a":{"shape":[1],"dtype":"U8","data_offsets":[3,4]},)"
               R"("b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}   )");
  const auto read = read_safetensors(file_);
  EXPECT_EQ(read.tensors.at("a").item<int>(), '4');
  EXPECT_EQ(read.tensors.at("b")[2].item<int>(), '3');
}

TEST_F(SafetensorsTest, KeepsTheOldFileWhereTheNewCannotBeWritten) {
  save_safetensors({{"a", torch::ones({2})}}, file_);
  const auto before = bytes_of(file_);
  const auto refuse =
      [&](const StateDict& tensors, const SafetensorsMetadata& metadata, const std::string& why) {
        EXPECT_TRUE(throws([&] { save_safetensors(tensors, file_, metadata); }, why));
        EXPECT_EQ(bytes_of(file_), before);
      };
  refuse({{"a", torch::zeros({2}, torch::kComplexDouble)}},
         {},
         "safetensors: a is of type ComplexDouble, which the format does not have");
  refuse({{"a", torch::eye(2).to_sparse()}},
         {},
         "safetensors: expected a to be a dense tensor, but it is of another layout");
  refuse({{"a", torch::Tensor()}}, {}, "expected a to be a dense tensor, but it is undefined");
  refuse({{"__metadata__", torch::ones({1})}}, {}, "a tensor cannot be called __metadata__");
  refuse({{"\xff", torch::ones({1})}}, {}, "expected a text in UTF-8");
  refuse({{"a", torch::ones({1})}}, {{"note", "\xff"}}, "expected a text in UTF-8");
  EXPECT_EQ(test::names_in(folder_.path()), std::vector<std::string>{"a.safetensors"});
  EXPECT_TRUE(throws(
      [&] {
        save_safetensors({{"a", torch::ones({1})}}, folder_ / "no/such");
      },
      "no/such: could not be written: No such file or directory"));
}

TEST_F(SafetensorsTest, LeavesNothingBesideAPlaceThatCannotBeReplaced) {
  ASSERT_EQ(::mkdir(file_.c_str(), 0777), 0);
  EXPECT_TRUE(throws(
      [&] {
        save_safetensors({{"a", torch::ones({1})}}, file_);
      },
      file_ + ": could not be written: Is a directory"));
  EXPECT_EQ(test::names_in(folder_.path()), std::vector<std::string>{"a.safetensors"});
  EXPECT_TRUE(is_refused("Is a directory"));
}

TEST_F(SafetensorsTest, RefusesFilesThatCannotBeRead) {
  EXPECT_TRUE(is_refused("No such file or directory"));
  write_bytes(file_, "1234567");
  EXPECT_TRUE(is_refused("expected a file of format safetensors, but its header is cut off"));
  write_bytes(file_, std::string(8, '\xff'));
  EXPECT_TRUE(is_refused("expected a file of format safetensors, but its header is cut off"));
  write_bytes(file_, std::string("\x03\0\0\0\0\0\0\0{}", 10));
  EXPECT_TRUE(is_refused("expected a file of format safetensors, but its header is cut off"));
}

TEST_F(SafetensorsTest, RefusesHeadersThatDoNotFitTheFile) {
  const auto entry =
      [&](const std::string& dtype, const std::string& shape, const std::string& offsets) {
        write_header(R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape +
                     R"(,"data_offsets":)" + offsets + "}}");
      };
  entry("F32", "[1]", "[0,4]");
  EXPECT_EQ(read_safetensors(file_).tensors.size(), 1U);
  for (const char* shape : {"[2]", "[0]", "[]", "[4611686018427387904,4]", "[2,2,2]"}) {
    entry("F32", shape, std::string(shape) == "[]" ? "[0,3]" : "[0,4]");
    EXPECT_TRUE(is_refused("a does not fit in the file, which is cut off or damaged")) << shape;
  }
  for (const char* shape : {"[-1]", "[1.5]", "[true]", "[\"1\"]", "1", "[9223372036854775808]"}) {
    entry("F32", shape, "[0,4]");
    EXPECT_TRUE(is_refused("its header is damaged: expected")) << shape;
  }
  for (const char* offsets : {"[4,8]", "[4,0]", "[1,4]", "[0,9223372036854775807]"}) {
    entry("F32", "[1]", offsets);
    EXPECT_TRUE(is_refused("a does not fit in the file")) << offsets;
  }
  entry("F32", "[1]", "[0]");
  EXPECT_TRUE(is_refused("its header is damaged: expected two data_offsets of a"));
  entry("F4", "[1]", "[0,4]");
  EXPECT_TRUE(is_refused("a is of unknown type F4"));
  entry("U8", "[3]", "[0,3]");
  EXPECT_TRUE(is_refused("expected tensors to fill the file"));
  entry("U8", "[3]", "[1,4]");
  EXPECT_TRUE(is_refused("expected tensors to fill the file"));
  write_header("[]");
  EXPECT_TRUE(is_refused("expected a JSON object as its header"));
  write_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
               R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})");
  EXPECT_TRUE(is_refused("b lies where another tensor begins"));
  write_header(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
               R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})");
  EXPECT_TRUE(is_refused("expected tensors to fill the file"));
  write_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"more":1}})");
  EXPECT_TRUE(is_refused("its header is damaged: expected dtype, shape and data_offsets of a"));
  write_header(R"({"__metadata__":{"a":1}})", "");
  EXPECT_TRUE(is_refused("its header is damaged: expected a text, but got 1"));
}

// Cut off, with bits changed, bytes replaced, put in or taken out: at least one of them. A file
// whose tensors alone are changed is read: the format has no checksums.
TEST_F(SafetensorsTest, ReadsOrRefusesAThousandMutatedFiles) {
  auto tensors = every_type();
  tensors["empty"] = torch::empty({0, 3});
  save_safetensors(tensors, file_, {{"note", "più \"quoted\"\n"}});
  const auto whole = bytes_of(file_);
  uint64_t header_size = 0;
  std::memcpy(&header_size, whole.data(), sizeof header_size);
  std::mt19937 random(0);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    auto bytes = whole;
    for (size_t change = 0; change < 1 + below(3); ++change) {
      const auto at = below(below(2) == 0 ? bytes.size() : sizeof header_size + header_size);
      const auto place = static_cast<std::ptrdiff_t>(std::min(at, bytes.size() - 1));
      switch (below(5)) {
        case 0:
          bytes.resize(at + 1);
          break;
        case 1:
          bytes[static_cast<size_t>(place)] ^= static_cast<char>(1U << below(8));
          break;
        case 2:
          bytes[static_cast<size_t>(place)] = "0123456789[]{},:\"\\ue\xff"[below(22)];
          break;
        case 3:
          bytes.insert(bytes.begin() + place, static_cast<char>(below(256)));
          break;
        default:
          if (bytes.size() > 1) bytes.erase(bytes.begin() + place);
      }
    }
    write_bytes(file_, bytes);
    try {
      read_safetensors(file_);
    } catch (const c10::ValueError& error) {
      ASSERT_EQ(std::string(error.what_without_backtrace()).rfind(file_ + ": ", 0), 0U);
      ++refused;
    }
  }
  EXPECT_GT(refused, 700);
}

}  // namespace
}  // namespace evenkeel
