// SPDX-License-Identifier: MIT
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// How near scores are that are computed from the same counts.
constexpr double kTolerance = 1e-9;

/// What tests/reference/sacrebleu_reference.py wrote.
class SacreBleuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("EVENKEEL_REFERENCE_DIR");
    if (folder == nullptr || *folder == '\0') {
      GTEST_SKIP() << "EVENKEEL_REFERENCE_DIR is not set";
    }
    folder_ = std::string(folder) + "/sacrebleu/";
  }

  std::ifstream open(const std::string& name) const {
    std::ifstream stream(folder_ + name, std::ios::binary);
    if (!stream) {
      throw std::runtime_error(folder_ + name + ": cannot read");
    }
    return stream;
  }

  std::vector<std::string> segments(const std::string& name) const {
    auto stream = open(name);
    std::vector<std::string> result;
    for (std::string segment; std::getline(stream, segment, '\0');) {
      result.push_back(segment);
    }
    return result;
  }

 private:
  std::string folder_;
};

}  // namespace evenkeel::examples::translation
