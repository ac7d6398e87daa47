// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/platform.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>

/// The CPU's kernels are written once, over N float32 lanes of the compiler's vectors. All of it is
/// inlined into a few functions for each set of instructions (kernels.hpp), which so decide
/// what it becomes; hence no vector is ever passed or returned by value. Rows are worked on in
/// whole vectors: whatever has other columns is copied to where zeros fill the last.
namespace evenkeel::detail::cpu {

constexpr int64_t kMostLanes = 16;

/// `columns`, and those that fill the last of its vectors of N.
template <int N>
EVENKEEL_ALWAYS_INLINE constexpr int64_t whole(int64_t columns) {
  return (columns + N - 1) / N * N;
}

/// N of float32 (`F`), of uint32 (`U`) and of double (`D`) at once.
template <int N>
struct Lanes;

#if EVENKEEL_HAS_VECTORS
template <typename T, int N>
struct VectorOf {
  using Type __attribute__((vector_size(sizeof(T) * N))) = T;
  // Wherever it lies in memory. Clang 14 forgets that a template's type is unaligned, but not that
  // a structure is packed; GCC 12 goes by the type where it does not optimise.
  using Unaligned __attribute__((vector_size(sizeof(T) * N), aligned(sizeof(T)), may_alias)) = T;
  struct __attribute__((packed, may_alias)) Loose {
    Unaligned v;
  };
};

template <int N>
struct Lanes {
  using F = typename VectorOf<float, N>::Type;
  using U = typename VectorOf<uint32_t, N>::Type;
  using D = typename VectorOf<double, N>::Type;
  using H = typename VectorOf<uint16_t, N>::Type;
  using LooseF = typename VectorOf<float, N>::Loose;
  using LooseH = typename VectorOf<uint16_t, N>::Loose;
  static constexpr int kLanes = N;

  /// The lanes that begin at `p`, wherever that is: at(p).v
  EVENKEEL_ALWAYS_INLINE static LooseF& at(float* p) { return *reinterpret_cast<LooseF*>(p); }
  EVENKEEL_ALWAYS_INLINE static const LooseF& at(const float* p) {
    return *reinterpret_cast<const LooseF*>(p);
  }
  EVENKEEL_ALWAYS_INLINE static void widen(U& bits, const uint16_t* p) {
    const H narrow = reinterpret_cast<const LooseH*>(p)->v;
    bits = __builtin_convertvector(narrow, U);
  }
  EVENKEEL_ALWAYS_INLINE static void narrow(uint16_t* p, const U& bits) {
    reinterpret_cast<LooseH*>(p)->v = __builtin_convertvector(bits, H);
  }
  EVENKEEL_ALWAYS_INLINE static void widen(D& wide, const F& value) {
    wide = __builtin_convertvector(value, D);
  }
  EVENKEEL_ALWAYS_INLINE static void store(float* p, const D& value) {
    at(p).v = __builtin_convertvector(value, F);
  }
  /// first, first + step, ...
  EVENKEEL_ALWAYS_INLINE static void count(U& value, uint32_t first, uint32_t step) {
    uint32_t numbers[N];
    for (int lane = 0; lane < N; ++lane) numbers[lane] = first + step * static_cast<uint32_t>(lane);
    std::memcpy(&value, numbers, sizeof(value));
  }
};
#endif

template <typename L>
EVENKEEL_ALWAYS_INLINE inline void bits_of(typename L::U& bits, const typename L::F& value) {
  std::memcpy(&bits, &value, sizeof(bits));
}

template <typename L>
EVENKEEL_ALWAYS_INLINE inline void from_bits(typename L::F& value, const typename L::U& bits) {
  std::memcpy(&value, &bits, sizeof(bits));
}

/// The sum of N lanes, by halves.
template <int N>
EVENKEEL_ALWAYS_INLINE inline float sum_of(const typename Lanes<N>::F& value) {
  if constexpr (N == 2) {
    return value[0] + value[1];
  } else {
    typename Lanes<N / 2>::F low;
    typename Lanes<N / 2>::F high;
    std::memcpy(&low, &value, sizeof(low));
    std::memcpy(&high, reinterpret_cast<const char*>(&value) + sizeof(low), sizeof(high));
    return sum_of<N / 2>(low + high);
  }
}

/// All bits where p < q, both below 2^31, and none elsewhere. Vectors are not compared: in some
/// loops GCC 12 fails on that ("internal compiler error: in do_store_flag").
template <typename L>
EVENKEEL_ALWAYS_INLINE inline void mask_below(typename L::U& mask,
                                              const typename L::U& p,
                                              uint32_t q) {
  mask = ~(((p - q) >> 31) - 1U);
}

// The kernels' numbers for types: 0 float, 1 bfloat16, 2 half.

/// One vector of bfloat16 or half in float32.
template <typename L>
EVENKEEL_ALWAYS_INLINE inline void widen(float* to, const uint16_t* from, bool bfloat16) {
  typename L::U bits;
  typename L::F value;
  L::widen(bits, from);
  if (bfloat16) {
    bits <<= 16;
    from_bits<L>(value, bits);
  } else {
    const typename L::U sign = (bits & 0x8000U) << 16;
    const typename L::U magnitude = (bits & 0x7fffU) << 13;
    from_bits<L>(value, magnitude);
    value *= 0x1p112F;  // the exponent's new bias, for numbers below the normal ones too
    bits_of<L>(bits, value);
    typename L::U finite;
    mask_below<L>(finite, magnitude, 0x0f800000U);
    bits |= ((magnitude | 0x7f800000U) & ~finite) | sign;
    from_bits<L>(value, bits);
  }
  L::at(to).v = value;
}

/// And back, rounded to the nearest.
template <typename L>
EVENKEEL_ALWAYS_INLINE inline void narrow(uint16_t* to, const float* from, bool bfloat16) {
  typename L::U bits;
  const typename L::F value = L::at(from).v;
  bits_of<L>(bits, value);
  const typename L::U magnitude = bits & 0x7fffffffU;
  typename L::U number;
  mask_below<L>(number, magnitude, 0x7f800001U);
  if (bfloat16) {
    const typename L::U rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    bits = (rounded & number) | (((bits >> 16) | 0x40U) & ~number);
  } else {
    const typename L::U sign = (bits >> 16) & 0x8000U;
    const typename L::U normal =
        (magnitude - 0x38000000U + 0xfffU + ((magnitude >> 13) & 1U)) >> 13;
    typename L::F shifted;
    from_bits<L>(shifted, magnitude);
    shifted += 0.5F;  // whose last place is half's smallest number: the addition rounds
    typename L::U small;
    bits_of<L>(small, shifted);
    small -= 0x3f000000U;
    const typename L::U large = 0x7e00U - (number & 0x200U);  // not a number, or infinite
    typename L::U is_small;
    mask_below<L>(is_small, magnitude, 0x38800000U);
    typename L::U fits;
    mask_below<L>(fits, magnitude, 0x47800000U);
    bits = (small & is_small) | (normal & fits & ~is_small) | (large & ~fits) | sign;
  }
  L::narrow(to, bits);
}

/// A row in float32, whose last vector ends in zeros.
template <int N>
EVENKEEL_ALWAYS_INLINE inline void widen_row(float* to,
                                             const uint16_t* from,
                                             int64_t dim,
                                             bool bfloat16) {
  using L = Lanes<N>;
  int64_t i = 0;
  for (; i + N <= dim; i += N) widen<L>(to + i, from + i, bfloat16);
  if (i == dim) return;
  uint16_t last[N] = {};
  std::memcpy(last, from + i, static_cast<size_t>(dim - i) * sizeof(*from));
  widen<L>(to + i, last, bfloat16);
}

/// And back.
template <int N>
EVENKEEL_ALWAYS_INLINE inline void narrow_row(uint16_t* to,
                                              const float* from,
                                              int64_t dim,
                                              bool bfloat16) {
  using L = Lanes<N>;
  int64_t i = 0;
  for (; i + N <= dim; i += N) narrow<L>(to + i, from + i, bfloat16);
  if (i == dim) return;
  uint16_t last[N];
  narrow<L>(last, from + i, bfloat16);
  std::memcpy(to + i, last, static_cast<size_t>(dim - i) * sizeof(*to));
}

}  // namespace evenkeel::detail::cpu
