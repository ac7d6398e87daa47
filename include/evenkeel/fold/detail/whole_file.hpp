// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/flush_to_disk.hpp>
#include <evenkeel/kernels/detail/platform.hpp>

#include <c10/util/Exception.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <utility>

namespace evenkeel::detail {

/// A file that is written as a whole: beside its place, under a name that nothing else has, flushed
/// to the disk and renamed by `commit()`. Without a `commit()`, what was there stays. Errors begin
/// with the file's name.
class WholeFile {
 public:
  explicit WholeFile(std::string file) : file_(std::move(file)) {
    std::random_device random;
    for (int tries = 0; stream_ == nullptr && tries < 100; ++tries) {
      beside_ = file_ + ".part-" + std::to_string(random());
      stream_ = std::fopen(beside_.c_str(), "wbx");
      if (stream_ == nullptr && errno != EEXIST) break;
    }
    if (stream_ == nullptr) fail();
  }
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;
  ~WholeFile() { discard(); }

  void write(std::string_view bytes) {
    if (std::fwrite(bytes.data(), 1, bytes.size(), stream_) != bytes.size()) fail();
  }

  void commit() {
    if (std::fflush(stream_) != 0 || !is_on_disk()) fail();
    if (std::fclose(std::exchange(stream_, nullptr)) != 0) fail();
    if (std::rename(beside_.c_str(), file_.c_str()) != 0) fail();
    beside_.clear();
  }

 private:
  bool is_on_disk() const {
#if EVENKEEL_HAS_POSIX
    return flush_to_disk(fileno(stream_));
#else
    return true;
#endif
  }

  void discard() {
    const bool made = stream_ != nullptr;
    if (made) std::fclose(std::exchange(stream_, nullptr));
    if (!beside_.empty()) std::remove(beside_.c_str());
    beside_.clear();
  }

  [[noreturn]] void fail() {
    const int error = errno;
    if (stream_ == nullptr && error == EEXIST) beside_.clear();  // another's
    discard();
    TORCH_CHECK(false, file_, ": could not be written: ", std::strerror(error));
  }

  std::string file_;
  std::string beside_;
  std::FILE* stream_ = nullptr;
};

}  // namespace evenkeel::detail
