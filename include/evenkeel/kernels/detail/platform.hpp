// SPDX-License-Identifier: MIT
#pragma once

// What not every compiler and system has. EVENKEEL_HIDE_POSIX and EVENKEEL_HIDE_VECTORS make one
// that has them do without, for tests.

#if defined(__GNUC__)  // Clang too
/// Marks what a program runs once or seldom: compilers then spend no time on making it fast.
#define EVENKEEL_COLD __attribute__((cold))
#define EVENKEEL_ALWAYS_INLINE __attribute__((always_inline))
#define EVENKEEL_NEVER_INLINE __attribute__((noinline))
#else
#define EVENKEEL_COLD
#define EVENKEEL_ALWAYS_INLINE
#define EVENKEEL_NEVER_INLINE
#endif

/// Has the compiler vectors of its own? The CPU's kernels are written in them.
#if defined(__GNUC__) && !defined(EVENKEEL_HIDE_VECTORS)
#define EVENKEEL_HAS_VECTORS 1
#else
#define EVENKEEL_HAS_VECTORS 0
#endif

/// Can libraries be loaded, and files be opened as POSIX does? CUDA's kernels need it.
#if __has_include(<dlfcn.h>) && __has_include(<unistd.h>) && !defined(EVENKEEL_HIDE_POSIX)
#define EVENKEEL_HAS_POSIX 1
#else
#define EVENKEEL_HAS_POSIX 0
#endif
