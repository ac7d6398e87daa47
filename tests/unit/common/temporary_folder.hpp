// SPDX-License-Identifier: MIT
#pragma once

#include <ftw.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace evenkeel::examples {

/// Removes a folder with all that is in it. Not std::filesystem::remove_all: LibTorch's wheel
/// exports one of its own, which takes the place of the standard library's and crashes.
inline void remove_folder(const std::filesystem::path& folder) {
  const auto remove_one = [](const char* path, const struct stat*, int, FTW*) {
    return std::remove(path);
  };
  ::nftw(folder.c_str(), remove_one, /*open files at most*/ 8, FTW_DEPTH | FTW_PHYS);
}

/// A folder of the test's own that goes when the test does.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    auto name = (std::filesystem::temp_directory_path() / "evenkeel-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error(name + ": cannot be made");
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { remove_folder(path_); }

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// The whole content of a file; empty where it cannot be read.
inline std::string bytes_of(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace evenkeel::examples
