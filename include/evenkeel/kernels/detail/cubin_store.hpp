// SPDX-License-Identifier: MIT
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace evenkeel::detail {

/// Compiled kernels on disk, in $XDG_CACHE_HOME/evenkeel or ~/.cache/evenkeel, so that the next
/// start of a program need not compile them. A store that cannot be written does without.
/// (Without std::filesystem: some builds of LibTorch bring symbols of another version of it.)
class CubinStore {
 public:
  CubinStore() {
    const char* cache = std::getenv("XDG_CACHE_HOME");
    const char* home = std::getenv("HOME");
    if (cache != nullptr && *cache != '\0') {
      parents_ = {cache};
    } else if (home != nullptr && *home != '\0') {
      parents_ = {home, std::string(home) + "/.cache"};
    }
    if (!parents_.empty()) folder_ = parents_.back() + "/evenkeel";
  }

  /// Of all that decides what the compiler makes: its source, its options and its version.
  static std::string name_of(const std::string& everything) {
    static const char* const digits = "0123456789abcdef";
    std::string name;
    for (uint64_t hash : {0xcbf29ce484222325ULL, 0x84222325cbf29ce4ULL}) {  // FNV-1a
      for (const unsigned char byte : everything) hash = (hash ^ byte) * 0x100000001b3ULL;
      for (int shift = 60; shift >= 0; shift -= 4) name += digits[(hash >> shift) & 15U];
    }
    return name + ".cubin";
  }

  /// Empty where there is none.
  std::vector<char> read(const std::string& name) const {
    if (folder_.empty()) return {};
    std::ifstream file(folder_ + "/" + name, std::ios::binary);
    if (!file) return {};
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  /// Written beside its place and renamed, so that no one reads half of it.
  void write(const std::string& name, const std::vector<char>& cubin) const {
    if (folder_.empty()) return;
    static std::atomic<unsigned> count{0};
    for (const auto& parent : parents_) mkdir(parent.c_str(), 0777);
    mkdir(folder_.c_str(), 0777);
    const auto place = folder_ + "/" + name;
    const auto own =
        place + "." + std::to_string(getpid()) + "." + std::to_string(count.fetch_add(1));
    bool whole = false;
    if (std::ofstream file(own, std::ios::binary); file) {
      file.write(cubin.data(), static_cast<std::streamsize>(cubin.size()));
      file.close();
      whole = !file.fail();
    }
    if (!whole || std::rename(own.c_str(), place.c_str()) != 0) std::remove(own.c_str());
  }

 private:
  std::vector<std::string> parents_;  // made where missing
  std::string folder_;
};

}  // namespace evenkeel::detail
