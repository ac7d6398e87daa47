// SPDX-License-Identifier: MIT
#pragma once

/// Marks what a program runs once or seldom: compilers then spend no time on making it fast.
#if defined(__GNUC__)  // Clang too
#define EVENKEEL_COLD __attribute__((cold))
#else
#define EVENKEEL_COLD
#endif
