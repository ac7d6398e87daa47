// SPDX-License-Identifier: MIT
#pragma once

// Code of CUDA kernels. In a C++ program it is text, compiled by NVRTC when the program runs, so
// that no CUDA toolkit is needed to build the program. With EVENKEEL_COMPILE_AS_CUDA it is the code
// itself, for nvcc and other tools that read CUDA. Comments are no part of the text, and code that
// becomes an argument of a macro holds no preprocessor directives.

#if defined(EVENKEEL_COMPILE_AS_CUDA)

#define EVENKEEL_DEVICE_CODE(name, ...) __VA_ARGS__
#define EVENKEEL_SHARED_CODE(name, ...) __VA_ARGS__

#else

/// Code of a kernel; here it is the string `name`.
#define EVENKEEL_DEVICE_CODE(name, ...)             \
  namespace evenkeel::detail::cuda {                \
  inline constexpr const char* name = #__VA_ARGS__; \
  }

/// Code of a kernel and of the C++ program too, where it is declared as well.
#define EVENKEEL_SHARED_CODE(name, ...)             \
  namespace evenkeel::detail {                      \
  __VA_ARGS__                                       \
  namespace cuda {                                  \
  inline constexpr const char* name = #__VA_ARGS__; \
  }                                                 \
  }

#endif
