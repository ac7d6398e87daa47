// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/platform.hpp>

#if EVENKEEL_HAS_POSIX
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace evenkeel::detail::cuda {

/// 128 bits of a text: two FNV-1a hashes.
inline std::array<uint64_t, 2> hash_of(const char* bytes, size_t count) {
  std::array<uint64_t, 2> hashes{0xcbf29ce484222325ULL, 0x84222325cbf29ce4ULL};
  for (auto& hash : hashes) {
    for (size_t i = 0; i < count; ++i) {
      hash = (hash ^ static_cast<unsigned char>(bytes[i])) * 0x100000001b3ULL;
    }
  }
  return hashes;
}

#if EVENKEEL_HAS_POSIX

/// Compiled kernels on disk, in $XDG_CACHE_HOME/evenkeel or ~/.cache/evenkeel, so that the next
/// start of a program need not compile them. The folder is made for its user alone, and neither
/// read nor written where it belongs to, or may be written by, anyone else; neither is followed a
/// link. A file is taken for what it is called only if its length and hash are right. A store that
/// cannot be used does without. (Without std::filesystem: some builds of LibTorch bring symbols of
/// another version of it.)
class CubinStore {
 public:
  EVENKEEL_COLD CubinStore() {
    const char* cache = std::getenv("XDG_CACHE_HOME");
    const char* home = std::getenv("HOME");
    if (cache != nullptr && *cache != '\0') {
      parent_ = cache;
    } else if (home != nullptr && *home != '\0') {
      home_ = home;
      parent_ = home_ + "/.cache";
    }
    if (!parent_.empty()) folder_ = parent_ + "/evenkeel";
  }

  /// Of all that decides what the compiler makes: its source, its options and its version.
  EVENKEEL_COLD static std::string name_of(const std::string& everything) {
    static const char* const digits = "0123456789abcdef";
    std::string name;
    for (const uint64_t hash : hash_of(everything.data(), everything.size())) {
      for (int shift = 60; shift >= 0; shift -= 4) name += digits[(hash >> shift) & 15U];
    }
    return name + ".cubin";
  }

  /// Empty where there is none that can be trusted.
  EVENKEEL_COLD std::string read(const std::string& name) const {
    const Descriptor folder = open_folder();
    if (!folder.is_open() || !is_file_name(name)) return {};
    const Descriptor file(openat(folder.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    struct stat status {};
    if (!file.is_open() || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
        !is_own(status) || status.st_size < static_cast<off_t>(sizeof(Header)) ||
        status.st_size > kMostBytes) {
      return {};
    }
    Header header{};
    std::string cubin(static_cast<size_t>(status.st_size) - sizeof(header), '\0');
    if (!read_all(file.get(), &header, sizeof(header)) ||
        !read_all(file.get(), cubin.data(), cubin.size())) {
      return {};
    }
    const Header right = header_of(name, cubin);
    return std::memcmp(&header, &right, sizeof(header)) == 0 ? cubin : std::string();
  }

  /// Written beside its place and renamed, so that no one reads half of it.
  EVENKEEL_COLD void write(const std::string& name, const std::string& cubin) const {
    static std::atomic<unsigned> count{0};
    if (folder_.empty() || !is_file_name(name)) return;
    for (const auto* missing : {&home_, &parent_, &folder_}) {
      if (!missing->empty()) mkdir(missing->c_str(), 0700);
    }
    const Descriptor folder = open_folder();
    if (!folder.is_open()) return;
    const auto own =
        name + "." + std::to_string(getpid()) + "." + std::to_string(count.fetch_add(1));
    bool whole = false;
    {
      constexpr int kNew = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
      const Descriptor file(openat(folder.get(), own.c_str(), kNew, 0600));
      if (!file.is_open()) return;
      const Header header = header_of(name, cubin);
      whole = write_all(file.get(), &header, sizeof(header)) &&
              write_all(file.get(), cubin.data(), cubin.size());
    }
    if (!whole || renameat(folder.get(), own.c_str(), folder.get(), name.c_str()) != 0) {
      unlinkat(folder.get(), own.c_str(), 0);
    }
  }

 private:
  static constexpr off_t kMostBytes = 64 << 20;

  /// What a file begins with.
  struct Header {
    std::array<char, 8> magic;
    uint64_t length;
    std::array<uint64_t, 2> hash;  ///< of name and contents
  };

  /// Of an open file, which it closes.
  class Descriptor {
   public:
    explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
    ~Descriptor() {
      if (is_open()) close(descriptor_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    bool is_open() const { return descriptor_ >= 0; }
    int get() const { return descriptor_; }

   private:
    int descriptor_;
  };

  static Header header_of(const std::string& name, const std::string& cubin) {
    const std::string all = name + cubin;
    return {{'e', 'v', 'e', 'n', 'k', 'e', 'e', 'l'},
            cubin.size(),
            hash_of(all.data(), all.size())};
  }

  static bool is_file_name(const std::string& name) {
    return !name.empty() && name[0] != '.' && name.find('/') == std::string::npos;
  }

  /// Only this user may have written it.
  static bool is_own(const struct stat& status) {
    return status.st_uid == geteuid() && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
  }

  Descriptor open_folder() const {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    const int folder = folder_.empty() ? -1 : open(folder_.c_str(), kFlags);
    struct stat status {};
    if (folder >= 0 && (fstat(folder, &status) != 0 || !is_own(status))) {
      close(folder);
      return Descriptor(-1);
    }
    return Descriptor(folder);
  }

  static bool read_all(int file, void* to, size_t bytes) {
    auto* next = static_cast<char*>(to);
    while (bytes > 0) {
      const ssize_t got = ::read(file, next, bytes);
      if (got <= 0) return false;
      next += got;
      bytes -= static_cast<size_t>(got);
    }
    return true;
  }

  static bool write_all(int file, const void* from, size_t bytes) {
    const auto* next = static_cast<const char*>(from);
    while (bytes > 0) {
      const ssize_t put = ::write(file, next, bytes);
      if (put <= 0) return false;
      next += put;
      bytes -= static_cast<size_t>(put);
    }
    return true;
  }

  std::string home_, parent_, folder_;  // made where missing; empty where not used
};

#else

/// Where files cannot be opened as POSIX does, nothing is kept.
class CubinStore {
 public:
  static std::string name_of(const std::string& everything) { return everything; }
  static std::string read(const std::string& /*name*/) { return {}; }
  static void write(const std::string& /*name*/, const std::string& /*cubin*/) {}
};

#endif

}  // namespace evenkeel::detail::cuda
