// SPDX-License-Identifier: MIT
#pragma once

#include <gtest/gtest.h>
#include <torch/serialize.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <string>

namespace evenkeel::test {

/// Tensors that a script of tests/reference/ has written, by name; dots are two underscores there.
class Reference {
 public:
  /// Reads `file` of the folder EVENKEEL_REFERENCE_DIR. Without it, or without the file, nothing is
  /// there: the script's Python package is not installed.
  explicit Reference(const std::string& file) {
    const char* folder = std::getenv("EVENKEEL_REFERENCE_DIR");
    if (folder == nullptr || *folder == '\0') return;
    const auto path = std::string(folder) + "/" + file;
    if (!std::ifstream(path)) return;
    archive_.load_from(path);
    is_there_ = true;
  }

  bool is_there() const { return is_there_; }

  /// The tensor of a name, undefined if there is none.
  torch::Tensor find(std::string name) {
    for (size_t at = name.find('.'); at != std::string::npos; at = name.find('.')) {
      name.replace(at, 1, "__");
    }
    torch::Tensor tensor;
    const bool found = archive_.try_read(name, tensor, /*is_buffer=*/true);
    return found ? tensor.clone() : torch::Tensor();  // the archive's own is handed out again
  }

  /// The tensor of a name; the test fails if there is none.
  torch::Tensor read(const std::string& name) {
    auto tensor = find(name);
    EXPECT_TRUE(tensor.defined()) << name << " is not in the reference";
    return tensor;
  }

 private:
  torch::serialize::InputArchive archive_;
  bool is_there_ = false;
};

}  // namespace evenkeel::test

/// Skips a test whose reference was not written.
#define EVENKEEL_SKIP_WITHOUT(reference)                        \
  if (!(reference).is_there())                                  \
  GTEST_SKIP() << "the Python package is not installed, or no " \
                  "EVENKEEL_REFERENCE_DIR is set"
