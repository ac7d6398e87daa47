// SPDX-License-Identifier: MIT
#include "files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <utility>

namespace evenkeel::examples {
namespace {

constexpr std::string_view kTemporary = ".evenkeel-";  // then 16 digits
constexpr std::size_t kTemporaryDigits = 16;

std::string folder_of(const std::string& file) {
  const auto slash = file.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : file.substr(0, slash);
}

// The path without links in it; nothing where there is no such file.
std::optional<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> found(::realpath(path.c_str(), nullptr),
                                                          &std::free);
  return found ? std::optional<std::string>(found.get()) : std::nullopt;
}

std::optional<std::string> read_link(const std::string& path) {
  char target[PATH_MAX];
  const auto size = ::readlink(path.c_str(), target, sizeof target);
  if (size < 0) return std::nullopt;
  return std::string(target, static_cast<std::size_t>(size));
}

// Where a file's symbolic links lead, whether anything is there or not. Stops at a link to an open
// descriptor of this process, whose number it tells.
struct Destination {
  explicit Destination(std::string file) : path(std::move(file)) {
    const auto descriptors = real_path("/proc/self/fd");
    for (int links = 0; links < 40; ++links) {
      const auto name = path.substr(path.rfind('/') + 1);
      const bool digits = !name.empty() && name.find_first_not_of("0123456789") == name.npos;
      if (digits && name.size() < 10 && descriptors && real_path(folder_of(path)) == descriptors) {
        descriptor = std::stoi(name);
        return;
      }
      const auto target = read_link(path);
      if (!target) return;
      path = target->rfind('/', 0) == 0 ? *target : folder_of(path) + "/" + *target;
    }
  }

  std::string path;
  std::optional<int> descriptor;
};

std::string fresh_name() {
  std::random_device random;
  uint64_t number = static_cast<uint64_t>(random()) << 32 | random();
  std::string name(kTemporary);
  for (std::size_t i = 0; i < kTemporaryDigits; ++i, number >>= 4) {
    name += "0123456789abcdef"[number & 15];
  }
  return name;
}

// Removes what programs that were killed left in a folder: a temporary file belongs to the program
// that holds its lock.
void remove_abandoned(const std::string& folder) {
  struct Close {
    void operator()(DIR* entries) const { ::closedir(entries); }
  };
  const std::unique_ptr<DIR, Close> entries(::opendir(folder.c_str()));
  if (!entries) return;
  while (const auto* entry = ::readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    if (name.size() != kTemporary.size() + kTemporaryDigits || name.rfind(kTemporary, 0) != 0) {
      continue;
    }
    const auto path = folder + "/" + std::string(name);
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) continue;
    struct stat status {};
    const bool abandoned = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
                           ::flock(descriptor, LOCK_EX | LOCK_NB) == 0;
    if (abandoned) ::unlink(path.c_str());
    ::close(descriptor);
  }
}

// Flushes to the disk; a file system without such a thing is none the worse.
bool flush(int descriptor) {
  return ::fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP || errno == ENOSYS;
}

}  // namespace

FileWriter::FileWriter(const std::string& file) : name_(file.empty() ? "standard output" : file) {
  if (file.empty()) {
    descriptor_ = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (descriptor_ < 0) fail(errno);
    return;
  }
  const Destination destination(file);
  if (destination.descriptor) {
    descriptor_ = ::fcntl(*destination.descriptor, F_DUPFD_CLOEXEC, 3);
    if (descriptor_ < 0) fail(errno);
    return;
  }
  struct stat status {};
  if (::stat(destination.path.c_str(), &status) != 0) {
    if (errno != ENOENT) fail(errno);
    open_beside(destination.path, std::nullopt);
  } else if (S_ISDIR(status.st_mode)) {
    fail(EISDIR);
  } else if (S_ISREG(status.st_mode)) {
    if (::access(destination.path.c_str(), W_OK) != 0) fail(errno);
    open_beside(destination.path, status.st_mode & 07777U);
  } else {
    descriptor_ = ::open(destination.path.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (descriptor_ < 0) fail(errno);
  }
}

FileWriter::~FileWriter() {
  discard();
}

void FileWriter::discard() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

void FileWriter::open_beside(const std::string& target, std::optional<unsigned> mode) {
  target_ = target;
  folder_ = folder_of(target);
  if (target.back() == '/') fail(EISDIR);
  remove_abandoned(folder_);
  while (true) {
    temporary_ = folder_ + "/" + fresh_name();  // before there is one that would have to be removed
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno == EEXIST) continue;
    if (descriptor_ < 0) {
      const int error = errno;
      temporary_.clear();
      fail(error);
    }
    // Another program may have taken it for abandoned before it was locked.
    struct stat status {};
    const bool locked = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    if (locked && ::fstat(descriptor_, &status) == 0 && status.st_nlink == 1) break;
    ::close(descriptor_);
  }
  if (mode && ::fchmod(descriptor_, *mode) != 0) fail(errno);
}

void FileWriter::write(std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(descriptor_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) {  // a terminal that some other program left like that
      pollfd ready{descriptor_, POLLOUT, 0};
      ::poll(&ready, 1, /*forever=*/-1);
      continue;
    }
    if (written < 0) fail(errno);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void FileWriter::commit() {
  if (!temporary_.empty()) {
    if (!flush(descriptor_)) fail(errno);
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(errno);
    temporary_.clear();
  }
  if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) fail(errno);
  if (folder_.empty()) return;
  const int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;  // a folder that may be written but not read
  const int error = flush(folder) ? 0 : errno;
  ::close(folder);
  if (error != 0) fail(error);
}

void FileWriter::fail(int error) {
  discard();
  throw FileError(name_ + ": " + std::strerror(error));
}

void write_file(const std::string& file, std::string_view text) {
  FileWriter writer(file);
  writer.write(text);
  writer.commit();
}

std::string read_file(const std::string& file) {
  struct Closed {
    int descriptor;
    ~Closed() {
      if (descriptor >= 0) ::close(descriptor);
    }
  };
  const Closed opened{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  std::string text;
  ssize_t size = opened.descriptor < 0 ? -1 : 1;
  while (size > 0) {
    const auto before = text.size();
    text.resize(before + (1U << 16U));
    do {
      size = ::read(opened.descriptor, &text[before], text.size() - before);
    } while (size < 0 && errno == EINTR);
    text.resize(before + static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  }
  const int error = errno;
  if (size < 0) throw FileError(file + ": " + std::strerror(error));
  return text;
}

void keep_copy(const std::string& from, const std::string& to) {
  ::unlink(to.c_str());
  if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    write_file(to, read_file(from));  // another disk, or a file system without links
  }
}

void check_writable(const std::string& file) {
  const FileWriter writer(file);
}

}  // namespace evenkeel::examples
