// SPDX-License-Identifier: MIT
#include "lock.hpp"

#include "files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace evenkeel::examples {
namespace {

// Who holds a lock: "process 17 on host, since 2026-01-31 12:00:00 UTC".
std::string holder() {
  char host[256] = "?";
  ::gethostname(host, sizeof host - 1);
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  char time[64];
  std::strftime(time, sizeof time, "%Y-%m-%d %H:%M:%S UTC", ::gmtime_r(&now, &utc));
  return "process " + std::to_string(::getpid()) + " on " + host + ", since " + time;
}

}  // namespace

FolderLock::FolderLock(const std::string& file)
    : descriptor_(::open(file.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666)) {
  const auto fail = [&](const std::string& why) {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw FileError(file + ": " + why);
  };
  if (descriptor_ < 0) fail(std::strerror(errno));
  // A file system without locks cannot tell; the run goes on there.
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    auto who = read_file(file);
    who.resize(std::min(who.find('\n'), who.size()));
    fail("another run is in this folder: " + (who.empty() ? "it has just begun" : who));
  }
  const auto who = holder() + "\n";
  if (::ftruncate(descriptor_, 0) != 0 ||
      ::write(descriptor_, who.data(), who.size()) != static_cast<ssize_t>(who.size())) {
    fail(std::strerror(errno));
  }
}

FolderLock::~FolderLock() {
  ::close(descriptor_);
}

}  // namespace evenkeel::examples
