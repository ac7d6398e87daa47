// SPDX-License-Identifier: MIT
#include "common/checkpoint.hpp"

#include "common/files.hpp"
#include "system_faults.hpp"
#include "temporary_folder.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <string>

namespace evenkeel::examples {
namespace {

class CheckpointTest : public ::testing::Test {
 protected:
  CheckpointTest() : file_(folder_ / "a.safetensors") {
    torch::manual_seed(0);
    checkpoint_.tensors["half"] = torch::randn({3, 5}).to(torch::kBFloat16);
    checkpoint_.tensors["double"] = torch::randn({2}, torch::kFloat64);
    checkpoint_.tensors["transposed"] = torch::randn({4, 6}).t();
    checkpoint_.tensors["scalar"] = torch::tensor(7.0F);
    checkpoint_.tensors["empty"] = torch::empty({0, 3});
    checkpoint_.tensors["bytes"] = torch::arange(11, torch::kUInt8);
    checkpoint_.texts["note"] = "più \"quoted\"\n";
  }

  std::string error() {
    try {
      load_checkpoint(file_);
    } catch (const CheckpointError& error) {
      return error.what();
    }
    return "no error";
  }

  void overwrite(const std::string& bytes) { std::ofstream(file_, std::ios::binary) << bytes; }

  TemporaryFolder folder_;
  std::string file_;
  Checkpoint checkpoint_;
};

TEST_F(CheckpointTest, ReadsBackEveryBit) {
  save_checkpoint(checkpoint_, file_);
  const auto read = load_checkpoint(file_);
  EXPECT_EQ(read.texts, checkpoint_.texts);
  ASSERT_EQ(read.tensors.size(), checkpoint_.tensors.size());
  for (const auto& [name, tensor] : checkpoint_.tensors) {
    const auto& other = read.tensors.at(name);
    EXPECT_EQ(other.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(other.sizes(), tensor.sizes()) << name;
    EXPECT_TRUE(torch::equal(other, tensor)) << name;
  }
}

// tests/reference/safetensors_reader.py expects these in the file, which is left to it.
TEST_F(CheckpointTest, IsWrittenForPythonToRead) {
  const char* folder = std::getenv("EVENKEEL_REFERENCE_DIR");
  if (folder == nullptr) GTEST_SKIP() << "EVENKEEL_REFERENCE_DIR is not set";
  checkpoint_.tensors["half"] = torch::arange(15).reshape({3, 5}).to(torch::kBFloat16) / 8;
  checkpoint_.tensors["double"] = torch::tensor({0.1, -1e300}, torch::kFloat64);
  checkpoint_.tensors["transposed"] = torch::arange(24, torch::kFloat32).reshape({4, 6}).t();
  std::filesystem::create_directories(folder);
  const auto file = std::filesystem::path(folder) / "checkpoint.safetensors";
  std::filesystem::remove(file);
  save_checkpoint(checkpoint_, file);
  EXPECT_TRUE(std::filesystem::exists(file));
}

TEST_F(CheckpointTest, LeavesNothingBesideTheFile) {
  save_checkpoint(checkpoint_, file_);
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(file_).parent_path())) {
    EXPECT_EQ(entry.path().string(), file_);
    ++files;
  }
  EXPECT_EQ(files, 1);
}

TEST_F(CheckpointTest, KeepsTheOldFileWhereTheNewCannotBeWritten) {
  save_checkpoint(checkpoint_, file_);
  const auto before = bytes_of(file_);
  checkpoint_.tensors["complex"] = torch::zeros({2}, torch::kComplexDouble);
  EXPECT_THROW(save_checkpoint(checkpoint_, file_), CheckpointError);
  EXPECT_EQ(bytes_of(file_), before);
}

TEST_F(CheckpointTest, SaysThatAFileIsMissing) {
  EXPECT_EQ(error(), file_ + ": No such file or directory");
}

TEST_F(CheckpointTest, RefusesEveryFileThatIsCutOff) {
  save_checkpoint(checkpoint_, file_);
  const auto whole = bytes_of(file_);
  for (size_t size = 0; size < whole.size(); ++size) {
    overwrite(whole.substr(0, size));
    ASSERT_EQ(error().rfind(file_ + ": ", 0), 0) << size << " of " << whole.size() << " bytes";
  }
}

TEST_F(CheckpointTest, RefusesEveryFileInWhichABitIsChanged) {
  save_checkpoint(checkpoint_, file_);
  const auto whole = bytes_of(file_);
  for (size_t i = 0; i < whole.size(); ++i) {
    auto bytes = whole;
    bytes[i] = static_cast<char>(bytes[i] ^ (1U << i % 8));
    overwrite(bytes);
    ASSERT_EQ(error().rfind(file_ + ": ", 0), 0) << "byte " << i << " of " << whole.size();
  }
}

TEST_F(CheckpointTest, NamesTheTensorThatIsDamaged) {
  checkpoint_.tensors = {{"a", torch::zeros({4})}, {"b", torch::zeros({4})}};
  save_checkpoint(checkpoint_, file_);
  auto bytes = bytes_of(file_);
  bytes.back() = 1;
  overwrite(bytes);
  EXPECT_EQ(error(), file_ + ": b does not match its checksum: the file is damaged");
}

TEST_F(CheckpointTest, RefusesATextThatWasChanged) {
  save_checkpoint(checkpoint_, file_);
  auto bytes = bytes_of(file_);
  bytes.replace(bytes.find("quoted"), 6, "QUOTED");
  overwrite(bytes);
  EXPECT_EQ(error(),
            file_ + ": its header does not match its checksum: it is damaged, or was changed");
}

TEST_F(CheckpointTest, RefusesBytesBehindItsEnd) {
  save_checkpoint(checkpoint_, file_);
  overwrite(bytes_of(file_) + "x");
  EXPECT_EQ(error(),
            file_ +
                ": expected tensors to fill the file, but there are other bytes in it or behind "
                "it");
}

TEST_F(CheckpointTest, SaysThatAFileMayNotBeRead) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  save_checkpoint(checkpoint_, file_);
  std::filesystem::permissions(file_, std::filesystem::perms::none);
  EXPECT_EQ(error(), file_ + ": Permission denied");
}

TEST_F(CheckpointTest, WhateverCallFailsTheOldOrTheNewOneIsWhole) {
  save_checkpoint(checkpoint_, file_);
  const auto before = bytes_of(file_);
  auto next = checkpoint_;
  next.tensors["scalar"] = torch::tensor(8.0F);
  const int failures = fail_every_call([&] { save_checkpoint(next, file_); },
                                       [&](const char* call) {
                                         const auto scalar =
                                             load_checkpoint(file_).tensors.at("scalar");
                                         EXPECT_GE(scalar.item<float>(), 7.0F) << call;
                                         overwrite(before);
                                       });
  EXPECT_GE(failures, 10);
  EXPECT_EQ(load_checkpoint(file_).tensors.at("scalar").item<float>(), 8.0F);
}

TEST_F(CheckpointTest, RefusesShapesThatDoNotFitTheFile) {
  const auto with_header = [&](const std::string& header) {
    const uint64_t size = header.size();
    overwrite(std::string(reinterpret_cast<const char*>(&size), sizeof size) + header + "1234");
  };
  with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})");
  EXPECT_EQ(error(), file_ + ": expected a checkpoint of evenkeel, but it has no checksums");
  for (const char* shape :
       {"[2]", "[-1]", "[4611686018427387904,4]", "[0]", "[1,\"2\"]", "[1.5]", "[true]"}) {
    with_header(std::string(R"({"a":{"dtype":"F32","shape":)") + shape +
                R"(,"data_offsets":[0,4]}})");
    EXPECT_NE(error(), "no error") << shape;
  }
  with_header(R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})");
  EXPECT_EQ(error(), file_ + ": a is of unknown type F31");
  with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})");
  EXPECT_EQ(error(), file_ + ": a does not fit in the file, which is cut off or damaged");
  with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e300]}})");
  EXPECT_EQ(error(), file_ + ": its header is damaged: expected a count, but got 1e300");
  with_header("[]");
  EXPECT_EQ(error(), file_ + ": expected a JSON object as its header");
}

TEST_F(CheckpointTest, RefusesAHeaderThatIsNestedTooDeep) {
  const std::string header = R"({"__metadata__":)" + std::string(1'000'000, '[');
  for (const auto& text : {header, header + std::string(1'000'000, ']') + "}"}) {
    const uint64_t size = text.size();
    overwrite(std::string(reinterpret_cast<const char*>(&size), sizeof size) + text);
    EXPECT_EQ(error(),
              file_ +
                  ": its header is damaged: expected at most 64 levels of nesting, but there are "
                  "more");
  }
}

}  // namespace
}  // namespace evenkeel::examples
