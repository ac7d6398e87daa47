// SPDX-License-Identifier: MIT
// These functions take the place of the C and C++ libraries' in the program that they are linked
// into, LibTorch's calls included.
#include "system_faults.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>

namespace {

thread_local int allocations_left = -1;  // until one fails; below 0: none does
thread_local bool allocation_failed = false;

bool allocation_fails() {
  if (allocations_left < 0 || allocations_left-- > 0) return false;
  return allocation_failed = true;
}

void* allocate(std::size_t size) noexcept {
  return allocation_fails() ? nullptr : std::malloc(size == 0 ? 1 : size);
}

void* allocate(std::size_t size, std::size_t alignment) noexcept {
  void* memory = nullptr;
  return ::posix_memalign(&memory, alignment, size) == 0 ? memory : nullptr;
}

void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

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

int posix_memalign(void** memory, size_t alignment, size_t size) noexcept {
  static auto* const call = original<int(void**, size_t, size_t)>("posix_memalign");
  return allocation_fails() ? ENOMEM : call(memory, alignment, size);
}

}  // extern "C"

void* operator new(std::size_t size) {
  return or_throw(allocate(size));
}
void* operator new[](std::size_t size) {
  return or_throw(allocate(size));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return or_throw(allocate(size, static_cast<std::size_t>(alignment)));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return or_throw(allocate(size, static_cast<std::size_t>(alignment)));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace evenkeel::examples {

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

OutOfMemory fail_every_allocation(const std::function<void()>& action,
                                  const std::function<std::string()>& after) {
  struct Shared {  // with the processes that are forked
    int round = 0;
    bool done = false;
    OutOfMemory ends;
  };
  constexpr int kTerminated = 99;
  void* const memory = ::mmap(nullptr,
                              sizeof(Shared),
                              PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS,
                              /*no file*/ -1,
                              0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* const shared = new (memory) Shared;
  const auto look = [&] {
    const auto wrong = after();
    if (wrong.empty()) return;
    ++shared->ends.wrong;
    std::fprintf(stderr, "allocation %d: %s\n", shared->round, wrong.c_str());
  };
  const auto run = [&] {
    allocation_failed = false;
    allocations_left = shared->round;
    int* end = &shared->ends.other;
    try {
      action();
      allocations_left = -1;
      shared->done = !allocation_failed;
    } catch (const std::exception& error) {
      allocations_left = -1;
      const std::string told = error.what();
      if (told == "std::bad_alloc" || told.find("memory") != told.npos) end = &shared->ends.named;
    }
    if (shared->done) return;
    ++*end;
    look();
  };
  for (; !shared->done; ++shared->round) {
    const auto child = ::fork();
    if (child == 0) {
      std::set_terminate([] { ::_exit(kTerminated); });
      for (; !shared->done; ++shared->round) run();
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (shared->done) break;
    const bool terminated = WIFEXITED(status) && WEXITSTATUS(status) == kTerminated;
    ++(terminated ? shared->ends.terminated : shared->ends.other);
    look();
  }
  const auto ends = shared->ends;
  ::munmap(memory, sizeof(Shared));
  return ends;
}

}  // namespace evenkeel::examples
