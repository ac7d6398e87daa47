// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__GNUC__)  // Clang too
#define EVENKEEL_ALWAYS_INLINE __attribute__((always_inline))
#else
#define EVENKEEL_ALWAYS_INLINE
#endif

/// The CPU's kernels are written once, over N float32 lanes of the compiler's vectors. All of it is
/// inlined into one function for each set of instructions (cpu_kernels.hpp), which so decides what
/// it becomes; hence no vector is ever passed or returned by value.
namespace evenkeel::detail {

#if defined(__GNUC__)
template <typename T, int N>
struct VectorOf {
  using Type __attribute__((vector_size(sizeof(T) * N))) = T;
  using Loose __attribute__((vector_size(sizeof(T) * N), aligned(sizeof(T)), may_alias)) = T;
};
#endif

/// N of float32 (`F`), of uint32 (`U`) and of double (`D`) at once.
template <int N>
struct Lanes;

/// One at a time: what is left of a row, and all of it where the compiler has no vectors.
template <>
struct Lanes<1> {
  using F = float;
  using U = uint32_t;
  using D = double;

  static float& at(float* p) { return *p; }
  static const float& at(const float* p) { return *p; }
  static void widen(U& bits, const uint16_t* p) { bits = *p; }
  static void narrow(uint16_t* p, const U& bits) { *p = static_cast<uint16_t>(bits); }
  static void widen(D& wide, const F& value) { wide = static_cast<double>(value); }
  static void store(float* p, const D& value) { *p = static_cast<float>(value); }
  static void count(U& value, uint32_t first, uint32_t /*step*/) { value = first; }
};

#if defined(__GNUC__)
template <int N>
struct Lanes {
  using F = typename VectorOf<float, N>::Type;
  using U = typename VectorOf<uint32_t, N>::Type;
  using D = typename VectorOf<double, N>::Type;
  using H = typename VectorOf<uint16_t, N>::Type;
  using LooseF = typename VectorOf<float, N>::Loose;
  using LooseH = typename VectorOf<uint16_t, N>::Loose;

  /// The lanes that begin at `p`, wherever that is.
  EVENKEEL_ALWAYS_INLINE static LooseF& at(float* p) { return *reinterpret_cast<LooseF*>(p); }
  EVENKEEL_ALWAYS_INLINE static const LooseF& at(const float* p) {
    return *reinterpret_cast<const LooseF*>(p);
  }
  EVENKEEL_ALWAYS_INLINE static void widen(U& bits, const uint16_t* p) {
    const H narrow = *reinterpret_cast<const LooseH*>(p);
    bits = __builtin_convertvector(narrow, U);
  }
  EVENKEEL_ALWAYS_INLINE static void narrow(uint16_t* p, const U& bits) {
    *reinterpret_cast<LooseH*>(p) = __builtin_convertvector(bits, H);
  }
  EVENKEEL_ALWAYS_INLINE static void widen(D& wide, const F& value) {
    wide = __builtin_convertvector(value, D);
  }
  EVENKEEL_ALWAYS_INLINE static void store(float* p, const D& value) {
    at(p) = __builtin_convertvector(value, F);
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

/// `step(lanes, column)` for all columns of a row, N at a time and then one by one.
template <int N, typename Step>
EVENKEEL_ALWAYS_INLINE inline void for_columns(int64_t dim, const Step& step) {
  int64_t column = 0;
  for (; column + N <= dim; column += N) step(Lanes<N>(), column);
  if constexpr (N > 1) {
    for (; column < dim; ++column) step(Lanes<1>(), column);
  }
}

/// The sum of N lanes, by halves.
template <int N>
EVENKEEL_ALWAYS_INLINE inline float sum_of(const typename Lanes<N>::F& value) {
  if constexpr (N == 1) {
    return value;
  } else {
    typename Lanes<N / 2>::F low;
    typename Lanes<N / 2>::F high;
    std::memcpy(&low, &value, sizeof(low));
    std::memcpy(&high, reinterpret_cast<const char*>(&value) + sizeof(low), sizeof(high));
    return sum_of<N / 2>(low + high);
  }
}

/// A sum over a row.
template <int N>
class RowTotal {
 public:
  template <typename L>
  EVENKEEL_ALWAYS_INLINE void add(L /*lanes*/, const typename L::F& value) {
    if constexpr (std::is_same_v<L, Lanes<N>>) {
      lanes_ += value;
    } else {
      rest_ += value;
    }
  }

  EVENKEEL_ALWAYS_INLINE float value() const { return sum_of<N>(lanes_) + rest_; }

 private:
  typename Lanes<N>::F lanes_ = {};
  float rest_ = 0.0F;
};

// The kernels' numbers for types: 0 float, 1 bfloat16, 2 half.

template <typename L>
EVENKEEL_ALWAYS_INLINE inline void widen_to(float* to, const uint16_t* from, bool bfloat16) {
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
    bits = magnitude >= 0x0f800000U ? magnitude | 0x7f800000U : bits;  // infinite, or no number
    bits |= sign;
    from_bits<L>(value, bits);
  }
  L::at(to) = value;
}

template <typename L>
EVENKEEL_ALWAYS_INLINE inline void narrow_to(uint16_t* to, const float* from, bool bfloat16) {
  typename L::U bits;
  const typename L::F value = L::at(from);
  bits_of<L>(bits, value);
  const typename L::U magnitude = bits & 0x7fffffffU;
  if (bfloat16) {
    const typename L::U rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    bits = magnitude > 0x7f800000U ? (bits >> 16) | 0x40U : rounded;
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
    const typename L::U large =
        magnitude > 0x7f800000U ? magnitude - magnitude + 0x7e00U : magnitude - magnitude + 0x7c00U;
    bits = magnitude < 0x38800000U ? small : normal;
    bits = magnitude >= 0x47800000U ? large : bits;
    bits |= sign;
  }
  L::narrow(to, bits);
}

}  // namespace evenkeel::detail
