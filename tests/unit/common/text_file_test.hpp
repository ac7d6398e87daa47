// SPDX-License-Identifier: MIT
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace evenkeel::examples {

/// Has a folder of its own, named after the test.
class TextFileTest : public ::testing::Test {
 protected:
  TextFileTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    auto name = std::string(test->test_suite_name()) + "." + test->name();
    for (auto& c : name) {
      c = c == '/' ? '_' : c;
    }
    folder_ = std::filesystem::path(::testing::TempDir()) / ("evenkeel-" + name);
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~TextFileTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }

  std::string write_gzip(const std::string& name, const std::string& content) const {
    const gzFile file = gzopen(path(name).c_str(), "wb");
    gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
    gzclose(file);
    return path(name);
  }

 private:
  std::filesystem::path folder_;
};

}  // namespace evenkeel::examples
