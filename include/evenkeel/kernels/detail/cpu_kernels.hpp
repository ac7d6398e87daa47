// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/cpu_backward.hpp>
#include <evenkeel/kernels/detail/cpu_forward.hpp>

#include <cstdint>
#include <vector>

namespace evenkeel::detail {

/// The CPU's kernels, compiled for one set of instructions.
struct CpuKernels {
  void (*forward)(const CpuForward& call, int64_t begin, int64_t end);
  void (*backward)(const CpuBackward& call, float* totals, int64_t begin, int64_t end);
  void (*column_sums)(const float* rows, int64_t count, int64_t stride, int64_t columns, float* to);
  const char* name;
};

// NOLINTBEGIN(bugprone-macro-parentheses): an attribute and a template's argument
// The kernels over N lanes, for the instructions that `target` names.
#define EVENKEEL_CPU_KERNELS(name, lanes, target)                                         \
  target inline void forward_##name(const CpuForward& call, int64_t begin, int64_t end) { \
    cpu_forward<lanes>(call, begin, end);                                                 \
  }                                                                                       \
  target inline void backward_##name(const CpuBackward& call,                             \
                                     float* totals,                                       \
                                     int64_t begin,                                       \
                                     int64_t end) {                                       \
    cpu_backward<lanes>(call, totals, begin, end);                                        \
  }                                                                                       \
  target inline void column_sums_##name(const float* rows,                                \
                                        int64_t count,                                    \
                                        int64_t stride,                                   \
                                        int64_t columns,                                  \
                                        float* sums) {                                    \
    cpu_column_sums<lanes>(rows, count, stride, columns, sums);                           \
  }                                                                                       \
  inline constexpr CpuKernels kernels_##name {                                            \
    forward_##name, backward_##name, column_sums_##name, #name                            \
  }
// NOLINTEND(bugprone-macro-parentheses)

#if defined(__GNUC__)
EVENKEEL_CPU_KERNELS(baseline, 4, );  // SSE2, NEON: what every CPU of the kind has
#else
EVENKEEL_CPU_KERNELS(baseline, 1, );
#endif
#if defined(__GNUC__) && defined(__x86_64__)
EVENKEEL_CPU_KERNELS(avx2, 8, __attribute__((target("avx2,fma"))));
EVENKEEL_CPU_KERNELS(avx512, 16, __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))));
#endif
#undef EVENKEEL_CPU_KERNELS

/// Those that this CPU can run, the best first.
inline const std::vector<CpuKernels>& cpu_kernels() {
  static const std::vector<CpuKernels> usable = [] {
    std::vector<CpuKernels> kernels;
#if defined(__GNUC__) && defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      kernels.push_back(kernels_avx512);
    }
    if (avx2) kernels.push_back(kernels_avx2);
#endif
    kernels.push_back(kernels_baseline);
    return kernels;
  }();
  return usable;
}

}  // namespace evenkeel::detail
