// SPDX-License-Identifier: MIT
#pragma once

#include <functional>

namespace evenkeel::translation {

/// Calls `action` again and again, and lets one more of the calls in it to open (to write), write,
/// fsync, rename and close fail each time, with ENOSPC or EIO, until one round makes fewer calls.
/// `after` looks at what each failure has left. Returns how many calls were made to fail.
int fail_every_call(const std::function<void()>& action,
                    const std::function<void(const char* call)>& after);

}  // namespace evenkeel::translation
