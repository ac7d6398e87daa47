// SPDX-License-Identifier: MIT
// These functions take the place of the C library's in the program that they are linked into.
#include "system_faults.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdarg>
#include <cstddef>

namespace {

int calls_left = -1;  // until one fails; below 0: none does
const char* failed = nullptr;

bool fails(const char* call) {
  if (calls_left < 0 || calls_left-- > 0) return false;
  failed = call;
  return true;
}

template <typename Function>
Function* original(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* bytes, size_t size) {
  static auto* const call = original<ssize_t(int, const void*, size_t)>("write");
  if (fails("write")) {
    errno = ENOSPC;
    return -1;
  }
  return call(descriptor, bytes, size);
}

int open(const char* file, int flags, ...) {
  static auto* const call = original<int(const char*, int, ...)>("open");
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : mode_t{0};
  va_end(arguments);
  if ((flags & O_WRONLY) != 0 && fails("open")) {
    errno = ENOSPC;
    return -1;
  }
  return call(file, flags, mode);
}

int fsync(int descriptor) {
  static auto* const call = original<int(int)>("fsync");
  if (fails("fsync")) {
    errno = EIO;
    return -1;
  }
  return call(descriptor);
}

int rename(const char* from, const char* to) noexcept {
  static auto* const call = original<int(const char*, const char*)>("rename");
  if (fails("rename")) {
    errno = ENOSPC;
    return -1;
  }
  return call(from, to);
}

int close(int descriptor) {
  static auto* const call = original<int(int)>("close");
  const int result = call(descriptor);
  if (fails("close")) {
    errno = EIO;
    return -1;
  }
  return result;
}

}  // extern "C"

namespace evenkeel::translation {

int fail_every_call(const std::function<void()>& action,
                    const std::function<void(const char* call)>& after) {
  for (int round = 0;; ++round) {
    failed = nullptr;
    calls_left = round;
    try {
      action();
    } catch (...) {
      calls_left = -1;
      if (failed == nullptr) throw;
    }
    calls_left = -1;
    if (failed == nullptr) return round;
    after(failed);
  }
}

}  // namespace evenkeel::translation
