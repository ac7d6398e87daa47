// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/flush_to_disk.hpp>
#include <evenkeel/kernels/detail/platform.hpp>

#include <c10/util/Exception.h>

#if EVENKEEL_HAS_POSIX
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::detail {

#if EVENKEEL_HAS_POSIX

/// A folder that is written as a whole: files go to a folder beside `place`, which gets its name on
/// `commit()`. Without a `commit()`, nothing is left. Errors begin with `caller`.
class NewFolder {
 public:
  /// Throws if there is something at `place`, or if no folder can be made beside it.
  NewFolder(std::string caller, std::string place)
      : caller_(std::move(caller)), place_(std::move(place)) {
    while (place_.size() > 1 && place_.back() == '/') place_.pop_back();
    struct stat status {};
    TORCH_CHECK(!place_.empty() && lstat(place_.c_str(), &status) != 0,
                caller_,
                ": expected the name of a new folder, but got ",
                place_.empty() ? "none" : place_ + ", which exists");
    for (int number = 0;; ++number) {
      auto beside = place_ + ".part-" + std::to_string(getpid()) + "-" + std::to_string(number);
      if (mkdir(beside.c_str(), 0777) == 0) {
        beside_ = std::move(beside);
        return;
      }
      if (errno != EEXIST) fail();
    }
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder() {
    if (beside_.empty()) return;
    for (const auto& file : files_) std::remove(file.c_str());
    rmdir(beside_.c_str());
  }

  /// Adds a file with what `content` writes to a stream.
  void write(const std::string& name, const std::function<void(std::ostream&)>& content) {
    TORCH_CHECK(!name.empty() && name.find('/') == std::string::npos && name != "." && name != "..",
                caller_,
                ": expected the name of a file, but got ",
                name.empty() ? "none" : name);
    const auto path = beside_ + "/" + name;
    TORCH_CHECK(std::find(files_.begin(), files_.end(), path) == files_.end(),
                caller_,
                ": expected files of different names, but got twice ",
                name);
    files_.push_back(path);
    std::ofstream file(path, std::ios::binary);
    if (!file.is_open()) fail();
    content(file);
    file.close();
    if (!file.good() || !is_on_disk(path)) fail();
  }
  void write(const std::string& name, const std::string& content) {
    write(name, [&](std::ostream& stream) {
      stream.write(content.data(), static_cast<std::streamsize>(content.size()));
    });
  }

  /// Gives the folder its name.
  void commit() {
    if (!is_on_disk(beside_) || std::rename(beside_.c_str(), place_.c_str()) != 0) fail();
    beside_.clear();
  }

 private:
  static bool is_on_disk(const std::string& path) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    const bool flushed = flush_to_disk(descriptor);
    const int error = errno;
    close(descriptor);
    errno = error;
    return flushed;
  }

  [[noreturn]] void fail() const {
    const int error = errno;
    TORCH_CHECK(false, caller_, ": could not write ", place_, ": ", std::strerror(error));
  }

  std::string caller_, place_;
  std::string beside_;  // empty once it has its name
  std::vector<std::string> files_;
};

#else

/// Where folders cannot be made as POSIX does, none is.
class NewFolder {
 public:
  NewFolder(const std::string& caller, const std::string& place) {
    TORCH_CHECK(false, caller, ": could not write ", place, ": this needs a POSIX system");
  }
  void write(const std::string& /*name*/, const std::function<void(std::ostream&)>& /*content*/) {}
  void write(const std::string& /*name*/, const std::string& /*content*/) {}
  void commit() {}
};

#endif

}  // namespace evenkeel::detail
