// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <string>

namespace evenkeel::examples {

/// Calls `action` again and again, and lets one more of the calls in it to open (to write), write,
/// fsync, rename and close fail each time, with ENOSPC or EIO, until one round makes fewer calls.
/// `after` looks at what each failure has left. Returns how many calls were made to fail.
int fail_every_call(const std::function<void()>& action,
                    const std::function<void(const char* call)>& after);

/// How often an action was told that there is no memory, and what came of it.
struct OutOfMemory {
  int named = 0;       ///< An exception that speaks of memory.
  int terminated = 0;  ///< std::bad_alloc out of a destructor, such as nlohmann-json's.
  int other = 0;       ///< Another exception, a crash, or nothing at all.
  int wrong = 0;       ///< What `after` said on it, which is on standard error.

  int failures() const { return named + terminated + other; }
};

/// The same for memory, in processes of their own, since std::terminate may end them: one more of
/// the allocations of this thread fails each time, by operator new with std::bad_alloc, by
/// posix_memalign, from which LibTorch has the memory of tensors, with ENOMEM. `after` says what is
/// wrong; nothing where all is well.
OutOfMemory fail_every_allocation(const std::function<void()>& action,
                                  const std::function<std::string()>& after);

}  // namespace evenkeel::examples
