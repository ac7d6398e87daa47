// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cpu/backward.hpp>
#include <evenkeel/kernels/cpu/forward.hpp>
#include <evenkeel/kernels/detail/platform.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <cstdint>
#include <vector>

namespace evenkeel::detail::cpu {

/// The kernels, compiled for one set of instructions. `forward` and `backward` do rows `begin` to
/// `end`; backward adds their sums to `totals`.
struct Kernels {
  void (*forward)(const ResidualForm& form, const ResidualArgs& args, int64_t begin, int64_t end);
  void (*backward)(const ResidualForm& form,
                   const ResidualArgs& args,
                   float* totals,
                   int64_t begin,
                   int64_t end);
  void (*column_sums)(float* rows, int64_t count, int64_t width);
  const char* name;
};

// NOLINTBEGIN(bugprone-macro-parentheses): an attribute and a template's argument
// The kernels over so many lanes, for the instructions that `target` names. What turns a row into
// another is a function of its own: it is called in several places, and takes its time to compile.
#define EVENKEEL_CPU_KERNELS(name, lanes, target)                                          \
  struct name {                                                                            \
    static constexpr int kLanes = lanes;                                                   \
    EVENKEEL_NEVER_INLINE target static void widen_row(float* to,                          \
                                                       const uint16_t* from,               \
                                                       int64_t dim,                        \
                                                       bool bfloat16) {                    \
      cpu::widen_row<lanes>(to, from, dim, bfloat16);                                      \
    }                                                                                      \
    EVENKEEL_NEVER_INLINE target static void narrow_row(uint16_t* to,                      \
                                                        const float* from,                 \
                                                        int64_t dim,                       \
                                                        bool bfloat16) {                   \
      cpu::narrow_row<lanes>(to, from, dim, bfloat16);                                     \
    }                                                                                      \
    EVENKEEL_NEVER_INLINE target static void dropout_row(Dropout dropout,                  \
                                                         int64_t row,                      \
                                                         int64_t dim,                      \
                                                         float* factors) {                 \
      cpu::dropout_row<lanes>(dropout, row, dim, factors);                                 \
    }                                                                                      \
    target static void forward(const ResidualForm& form,                                   \
                               const ResidualArgs& args,                                   \
                               int64_t begin,                                              \
                               int64_t end) {                                              \
      forward_rows<name>(form, args, begin, end);                                          \
    }                                                                                      \
    target static void backward(const ResidualForm& form,                                  \
                                const ResidualArgs& args,                                  \
                                float* totals,                                             \
                                int64_t begin,                                             \
                                int64_t end) {                                             \
      backward_rows<name>(form, args, totals, begin, end);                                 \
    }                                                                                      \
    target static void column_sums(float* rows, int64_t count, int64_t width) {            \
      cpu::column_sums<lanes>(rows, count, width);                                         \
    }                                                                                      \
    static constexpr Kernels kernels() { return {forward, backward, column_sums, #name}; } \
  }
// NOLINTEND(bugprone-macro-parentheses)

#if EVENKEEL_HAS_VECTORS
EVENKEEL_CPU_KERNELS(Baseline, 4, );  // SSE2, NEON: what every CPU of the kind has
#if defined(__x86_64__)
EVENKEEL_CPU_KERNELS(Avx2, 8, __attribute__((target("avx2,fma"))));
EVENKEEL_CPU_KERNELS(Avx512, 16, __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))));
#endif
#endif
#undef EVENKEEL_CPU_KERNELS

/// Those that this CPU can run, the best first; none where the compiler has no vectors.
inline const std::vector<Kernels>& kernels() {
  static const std::vector<Kernels> usable = [] {
    std::vector<Kernels> kernels;
#if EVENKEEL_HAS_VECTORS
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      kernels.push_back(Avx512::kernels());
    }
    if (avx2) kernels.push_back(Avx2::kernels());
#endif
    kernels.push_back(Baseline::kernels());
#endif
    return kernels;
  }();
  return usable;
}

}  // namespace evenkeel::detail::cpu
