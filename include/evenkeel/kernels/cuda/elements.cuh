// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/shared_code.hpp>

// Elements of a row and how they travel. What is written in capitals is defined by source_of() in
// source.hpp:
//
//   D               length of a row
//   VEC, TPR, GROUPS   elements a load, threads a row, rows that a block works on at once
//   STAGES, RESIDENT   rows in flight for each row that is worked on; blocks a multiprocessor holds
//   KEEP            parameters stay in registers from row to row
//   LAUNCH_EARLY    programmatic dependent launch
//   ARCH            the GPU's architecture, such as 90
//   T_X T_F_X T_Y T_SUM T_SHORTCUT T_BRANCH T_BIAS T_NORM   types of x, f_x, y, the sum, the gains, the
//                   bias and the norm's parameters: 0 float, 1 bfloat16, 2 half
//   NORM            0 none, 1 LayerNorm, 2 RMSNorm; HAS_NORM_WEIGHT, HAS_NORM_BIAS: its parameters
//   SHORTCUT, BRANCH   the gains: 0 none, 1 one number, 2 one for each column
//   HAS_BIAS, DROPS    is a bias added to f_x; are elements dropped
//   HAS_SUM         forward: is the sum an output
//   HAS_DY, HAS_DSUM   backward: gradients that come in
//   DX DF_X DSHORTCUT DBRANCH DBIAS DNORM_WEIGHT DNORM_BIAS   backward: gradients that are wanted
//   INLINE, UNROLL  __device__ __forceinline__, _Pragma("unroll")
//
// Nothing is included in a kernel: the machine may have no CUDA headers.
EVENKEEL_DEVICE_CODE(kElementsCode,

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

constexpr int kVectors = (D + VEC * TPR - 1) / (VEC * TPR);  // loads of a thread, in a row
constexpr bool kRagged = kVectors * VEC * TPR != D;
constexpr int kThreads = TPR * GROUPS;
constexpr int kLanes = TPR < 32 ? TPR : 32;      // threads of a row in one warp
constexpr int kWarps = TPR < 32 ? 1 : TPR / 32;  // warps of a row; more than one: one barrier a row

// A kernel may be on the machine before the one ahead of it is done; what that one may write, it
// touches only after this.
INLINE void wait_for_predecessor() {
  if constexpr (LAUNCH_EARLY) asm volatile("griddepcontrol.wait;" ::: "memory");
}

// From here on the next kernel may come; it waits in turn for all of this one.
INLINE void let_successor_come() {
  if constexpr (LAUNCH_EARLY) asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// -inf: less than every number.
INLINE float never() { return __uint_as_float(0xff800000u); }

template <int kType>
constexpr int kBytes = kType == 0 ? 4 : 2;

INLINE float float_of_half(u16 h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}

INLINE u16 half_of_float(float f) {
  u16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}

INLINE u32 bfloat16_of_float(float f) {
  const u32 bits = __float_as_uint(f);
  if (f != f) return 0x7fc0u;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

// Two 16-bit elements in a word.
template <int kType>
INLINE u32 pack_two(float low, float high) {
  if constexpr (ARCH >= 80) {
    u32 word;
    if constexpr (kType == 1) {
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    } else {
      asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    }
    return word;
  } else if constexpr (kType == 1) {
    return bfloat16_of_float(low) | (bfloat16_of_float(high) << 16);
  } else {
    return half_of_float(low) | (static_cast<u32>(half_of_float(high)) << 16);
  }
}

template <int kType>
INLINE void unpack_two(u32 word, float& low, float& high) {
  if (kType == 1) {
    low = __uint_as_float(word << 16);
    high = __uint_as_float(word & 0xffff0000u);
  } else {
    low = float_of_half(static_cast<u16>(word));
    high = float_of_half(static_cast<u16>(word >> 16));
  }
}

// VEC elements as they lie in memory.
template <int kType>
struct Pack {
  static constexpr int kSize = VEC * kBytes<kType>;
  static constexpr int kWords = kSize < 4 ? 1 : kSize / 4;
  u32 words[kWords];

  // Activations are read once: they need no room in the L1 cache. Both kinds of load are volatile, so
  // that parameters read in a loop are read there and not kept in registers.
  template <bool kOnce>
  INLINE void load(const void* base, i64 index) {
    const u8* from = static_cast<const u8*>(base) + index * kBytes<kType>;
    if constexpr (kSize >= 16) {
      UNROLL for (int i = 0; i < kWords; i += 4) {
        if constexpr (kOnce) {
          asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                       : "=r"(words[i]), "=r"(words[i + 1]), "=r"(words[i + 2]), "=r"(words[i + 3])
                       : "l"(from + 4 * i));
        } else {
          asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                       : "=r"(words[i]), "=r"(words[i + 1]), "=r"(words[i + 2]), "=r"(words[i + 3])
                       : "l"(from + 4 * i));
        }
      }
    } else if constexpr (kSize == 8) {
      asm volatile("ld.global.v2.u32 {%0, %1}, [%2];" : "=r"(words[0]), "=r"(words[1]) : "l"(from));
    } else if constexpr (kSize == 4) {
      words[0] = *reinterpret_cast<const volatile u32*>(from);
    } else {
      words[0] = *reinterpret_cast<const volatile u16*>(from);
    }
  }

  INLINE void store(void* base, i64 index) const {
    u8* to = static_cast<u8*>(base) + index * kBytes<kType>;
    if constexpr (kSize >= 16) {
      UNROLL for (int i = 0; i < kSize / 16; ++i) {
        *reinterpret_cast<uint4*>(to + 16 * i) =
            make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
      }
    } else if constexpr (kSize == 8) {
      *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
    } else if constexpr (kSize == 4) {
      *reinterpret_cast<u32*>(to) = words[0];
    } else {
      *reinterpret_cast<u16*>(to) = static_cast<u16>(words[0]);
    }
  }

  INLINE void get(float (&values)[VEC]) const {
    if constexpr (kType == 0) {
      UNROLL for (int i = 0; i < VEC; ++i) values[i] = __uint_as_float(words[i]);
    } else if constexpr (VEC == 1) {
      float unused;
      unpack_two<kType>(words[0], values[0], unused);
    } else {
      UNROLL for (int i = 0; i < VEC / 2; ++i) {
        unpack_two<kType>(words[i], values[2 * i], values[2 * i + 1]);
      }
    }
  }

  INLINE void set(const float (&values)[VEC]) {
    if constexpr (kType == 0) {
      UNROLL for (int i = 0; i < VEC; ++i) words[i] = __float_as_uint(values[i]);
    } else if constexpr (VEC == 1) {
      words[0] = pack_two<kType>(values[0], 0.0f);
    } else {
      UNROLL for (int i = 0; i < VEC / 2; ++i) {
        words[i] = pack_two<kType>(values[2 * i], values[2 * i + 1]);
      }
    }
  }
};
)
