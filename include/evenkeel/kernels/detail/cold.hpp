// SPDX-License-Identifier: MIT
#pragma once

/// Marks what runs once in a program: compilers then spend no time on making it fast.
#if defined(__GNUC__)  // Clang too
#define EVENKEEL_COLD __attribute__((cold))
#else
#define EVENKEEL_COLD
#endif
