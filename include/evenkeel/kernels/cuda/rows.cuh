// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/detail/shared_code.hpp>

// Rows on their way, parameters, sums over a row, the dropout mask, and an element of the sum.
EVENKEEL_DEVICE_CODE(kRowsCode,

extern __shared__ uint4 shared_memory[];

// One tensor's rows on their way: each thread copies what it will read itself, STAGES - 1 rows ahead,
// so no barrier is needed. With one stage, rows are read when they are wanted. kOffset: bytes of a
// stage that belong to other tensors.
template <int kType, int kOffset>
struct Rows {
  static constexpr int kSize = VEC * kBytes<kType>;
  static constexpr int kEnd = kOffset + (STAGES > 1 ? kVectors * kThreads * kSize : 0);

  INLINE static u8* place(u8* stage, int v) {
    return stage + kOffset + (v * kThreads + static_cast<int>(threadIdx.x)) * kSize;
  }

  INLINE static void fetch(u8* stage, const void* base, i64 row, int t) {
    if constexpr (STAGES > 1) {
      UNROLL for (int v = 0; v < kVectors; ++v) {
        const int column = (v * TPR + t) * VEC;
        if (kRagged && column >= D) continue;
        const u8* from = static_cast<const u8*>(base) + (row * D + column) * kBytes<kType>;
        const u32 to = static_cast<u32>(__cvta_generic_to_shared(place(stage, v)));
        if constexpr (kSize == 16) {
          asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
        } else {
          asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(from), "n"(kSize)
                       : "memory");
        }
      }
    }
  }

  INLINE static void take(Pack<kType> (&packs)[kVectors], u8* stage, const void* base, i64 row, int t) {
    UNROLL for (int v = 0; v < kVectors; ++v) {
      const int column = (v * TPR + t) * VEC;
      if (kRagged && column >= D) {
        for (int i = 0; i < Pack<kType>::kWords; ++i) packs[v].words[i] = 0;
        continue;
      }
      if constexpr (STAGES == 1) {
        packs[v].template load<true>(base, row * D + column);
      } else if constexpr (kSize == 16) {
        const uint4 w = *reinterpret_cast<const uint4*>(place(stage, v));
        packs[v].words[0] = w.x, packs[v].words[1] = w.y;
        packs[v].words[2] = w.z, packs[v].words[3] = w.w;
      } else {
        for (int i = 0; i < Pack<kType>::kWords; ++i) {
          packs[v].words[i] = reinterpret_cast<const u32*>(place(stage, v))[i];
        }
      }
    }
  }
};

// A block's way through the rows, GROUPS at once. kLastFirst: from the last row to the first.
// `fetch(stage, row)` sends for a row.
template <bool kLastFirst>
struct Walk {
  const i64 rows, step;
  i64 first;
  const int group, t;       // of this thread: which of the rows, and which place in it
  int stage = 0, turn = 0;  // of the ring of rows in flight; of the scratch for sums

  INLINE explicit Walk(i64 rows_)
      : rows(rows_),
        step(static_cast<i64>(gridDim.x) * GROUPS),
        first(static_cast<i64>(blockIdx.x) * GROUPS),
        group(threadIdx.x / TPR),
        t(threadIdx.x % TPR) {}

  INLINE bool within(int steps) const { return first + group + steps * step < rows; }
  INLINE i64 row(int steps) const {
    const i64 at = first + group + steps * step;
    return kLastFirst ? rows - 1 - at : at;
  }
  // Sends for the rows that come first; once or, of other tensors, more often.
  template <typename Fetch>
  INLINE void start(const Fetch& fetch) const {
    if constexpr (STAGES > 1) {
      UNROLL for (int s = 0; s < STAGES - 1; ++s) {
        if (within(s)) fetch(s, row(s));
        asm volatile("cp.async.commit_group;" ::: "memory");
      }
    }
  }
  // Sends for a row to come, and waits for the one that is next.
  template <typename Fetch>
  INLINE void fetch_ahead(const Fetch& fetch) const {
    if constexpr (STAGES > 1) {
      if (within(STAGES - 1)) fetch(stage == 0 ? STAGES - 1 : stage - 1, row(STAGES - 1));
      asm volatile("cp.async.commit_group;" ::: "memory");
      asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 1) : "memory");
    }
  }
  INLINE void turn_ring() { stage = stage + 1 == STAGES ? 0 : stage + 1; }
};

// A parameter as a thread needs it. kCount: 0 none, 1 one number, 2 one for each column.
template <int kType, int kCount>
struct Parameter {
  Pack<kType> packs[kVectors];
  float number;

  // Before a loop where parameters are kept, inside it where they are not.
  INLINE void read(const void* base, int t, bool before_loop) {
    if constexpr (kCount == 1) {
      if (before_loop) read_number(base);
    } else if constexpr (kCount == 2) {
      if (before_loop != static_cast<bool>(KEEP)) return;
      UNROLL for (int v = 0; v < kVectors; ++v) {
        const int column = (v * TPR + t) * VEC;
        if (!kRagged || column < D) packs[v].template load<false>(base, column);
      }
    }
  }
  INLINE void get(int v, float (&values)[VEC], float otherwise) const {
    if constexpr (kCount == 2) {
      packs[v].get(values);
    } else {
      UNROLL for (int i = 0; i < VEC; ++i) values[i] = kCount == 1 ? number : otherwise;
    }
  }

 private:
  INLINE void read_number(const void* base) {
    if constexpr (kType == 0) {
      number = *static_cast<const float*>(base);
    } else {
      float unused;
      unpack_two<kType>(*static_cast<const u16*>(base), number, unused);
    }
  }
};

// Waits for the other threads of a row, by one of the 15 barriers that a block has to give away.
INLINE void wait_for_row(int group) {
  if constexpr (GROUPS == 1 || GROUPS > 15) {
    __syncthreads();
  } else {
    asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(TPR) : "memory");
  }
}

// Sums of two numbers over the threads of each row. Successive calls take turns with two `scratch`.
INLINE void sum_over_row(float& p, float& q, float2* scratch, int group, int t) {
  UNROLL for (int lanes = 1; lanes < kLanes; lanes <<= 1) {
    p += __shfl_xor_sync(~0u, p, lanes);
    q += __shfl_xor_sync(~0u, q, lanes);
  }
  if constexpr (kWarps > 1) {
    if (t % 32 == 0) scratch[group * kWarps + t / 32] = make_float2(p, q);
    wait_for_row(group);
    p = q = 0.0f;
    UNROLL for (int i = 0; i < kWarps; ++i) {
      const float2 other = scratch[group * kWarps + i];
      p += other.x, q += other.y;
    }
  }
}

// Mean and sum of squared distances from it, of a row whose threads hold equally many numbers each:
// pairs of equal parts are put together (Chan, Golub and LeVeque), so nothing cancels. The mean of
// equal numbers is that number.
INLINE void moments_over_row(float& mean, float& squares, float2* scratch, int group, int t) {
  constexpr float kMine = kVectors * VEC;
  UNROLL for (int lanes = 1; lanes < kLanes; lanes <<= 1) {
    const float distance = __shfl_xor_sync(~0u, mean, lanes) - mean;
    squares += __shfl_xor_sync(~0u, squares, lanes) + distance * distance * (0.5f * kMine * lanes);
    mean = fmaf(0.5f, distance, mean);
  }
  if constexpr (kWarps > 1) {
    if (t % 32 == 0) scratch[group * kWarps + t / 32] = make_float2(mean, squares);
    wait_for_row(group);
    const float first = scratch[group * kWarps].x;
    float all = 0.0f, within = 0.0f, between = 0.0f;
    UNROLL for (int i = 1; i < kWarps; ++i) all += scratch[group * kWarps + i].x - first;
    all = fmaf(all, 1.0f / kWarps, first);
    UNROLL for (int i = 0; i < kWarps; ++i) {
      const float2 other = scratch[group * kWarps + i];
      within += other.y;
      between = fmaf(other.x - all, other.x - all, between);
    }
    mean = all, squares = fmaf(32.0f * kMine, between, within);
  }
}

// Philox 4x32 with the 7 rounds that pass BigCrush: 16 bits for each of 8 columns of a row, whatever
// thread asks for them, so that every kernel sees the same mask.
INLINE uint4 philox(u64 seed, u64 offset, i64 row, int eight_columns) {
  u32 key0 = static_cast<u32>(seed), key1 = static_cast<u32>(seed >> 32);
  uint4 c = make_uint4(static_cast<u32>(row),
                       static_cast<u32>(eight_columns) | (static_cast<u32>(row >> 32) << 12),
                       static_cast<u32>(offset), static_cast<u32>(offset >> 32));
  UNROLL for (int i = 0; i < 7; ++i) {
    const u64 p = static_cast<u64>(0xD2511F53u) * c.x, q = static_cast<u64>(0xCD9E8D57u) * c.z;
    c = make_uint4(static_cast<u32>(q >> 32) ^ c.y ^ key0, static_cast<u32>(q),
                   static_cast<u32>(p >> 32) ^ c.w ^ key1, static_cast<u32>(p));
    key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
  }
  return c;
}

// Bit i: column + i is kept.
INLINE u32 kept_columns(u64 seed, u64 offset, i64 row, int column, u32 threshold) {
  const uint4 random = philox(seed, offset, row, column >> 3);
  u32 kept = 0;
  UNROLL for (int i = 0; i < VEC; ++i) {
    const int at = (VEC < 8 ? column & 7 & -VEC : 0) + i;
    const u32 low = at & 2 ? random.y : random.x, high = at & 2 ? random.w : random.z;
    const u32 word = at & 4 ? high : low;
    kept |= (((word >> (16 * (at & 1))) & 0xffffu) >= threshold ? 1u : 0u) << i;
  }
  return kept;
}

// The gains and the bias of the sum.
struct Parameters {
  Parameter<T_SHORTCUT, SHORTCUT> shortcut;
  Parameter<T_BRANCH, BRANCH> branch;
  Parameter<T_BIAS, HAS_BIAS ? 2 : 0> bias;

  INLINE void read(const ResidualArgs& args, int t, bool before_loop) {
    shortcut.read(args.shortcut, t, before_loop);
    branch.read(args.branch, t, before_loop);
    bias.read(args.bias, t, before_loop);
  }
};

// An element of dropout(f_x + bias).
INLINE float dropped_of(float f_x, float bias, u32 kept, int i, float scale) {
  const float biased = HAS_BIAS ? f_x + bias : f_x;
  if (!DROPS) return biased;
  return (kept >> i) & 1u ? biased * scale : 0.0f;
}

// An element of the sum.
INLINE float joined(float x, float dropped, float shortcut, float branch) {
  const float f = BRANCH ? dropped * branch : dropped;
  return SHORTCUT ? fmaf(shortcut, x, f) : x + f;
}
)
