// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/platform.hpp>

#if EVENKEEL_HAS_POSIX
#include <unistd.h>
#endif

#include <cerrno>

namespace evenkeel::detail {

#if EVENKEEL_HAS_POSIX
/// Whether what was written to that descriptor is on the disk; if not, errno says why. A file
/// system that cannot flush is none the worse.
inline bool flush_to_disk(int descriptor) {
  return fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP;
}
#endif

}  // namespace evenkeel::detail
