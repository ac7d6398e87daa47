// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/rows.cuh>
#include <evenkeel/kernels/detail/shared_code.hpp>

// The sums over rows that a backward ends with: of a thread and of a block.
EVENKEEL_DEVICE_CODE(kSumsCode,

// A row of sums: columns of the gains, the bias, the norm's weight and bias, as far as wanted, then
// the gains that are one number.
constexpr bool kShortcutColumns = DSHORTCUT && SHORTCUT == 2;
constexpr bool kBranchColumns = DBRANCH && BRANCH == 2;
constexpr bool kShortcutNumber = DSHORTCUT && SHORTCUT == 1;
constexpr bool kBranchNumber = DBRANCH && BRANCH == 1;
constexpr int kSums = kShortcutColumns + kBranchColumns + DBIAS + DNORM_WEIGHT + DNORM_BIAS;
constexpr int kSumsRow = (kSums * D + kShortcutNumber + kBranchNumber + 3) / 4 * 4;

// A thread's part of a sum over rows, for its columns.
template <bool kUsed>
struct Sums {
  float sums[kVectors][VEC];
  INLINE void clear() {
    UNROLL for (int v = 0; v < kVectors; ++v) {
      UNROLL for (int i = 0; i < VEC; ++i) sums[v][i] = 0.0f;
    }
  }
  INLINE void add(int v, int i, float value) {
    if constexpr (kUsed) sums[v][i] += value;
  }
  INLINE void add(int v, int i, float p, float q) {
    if constexpr (kUsed) sums[v][i] = fmaf(p, q, sums[v][i]);
  }
  // To memory, `to` pointing behind it afterwards.
  INLINE void put(float*& to, int t) const {
    if constexpr (kUsed) {
      UNROLL for (int v = 0; v < kVectors; ++v) {
        const int column = (v * TPR + t) * VEC;
        if (kRagged && column >= D) continue;
        if constexpr (VEC >= 4) {
          UNROLL for (int i = 0; i < VEC; i += 4) {
            *reinterpret_cast<float4*>(to + column + i) =
                make_float4(sums[v][i], sums[v][i + 1], sums[v][i + 2], sums[v][i + 3]);
          }
        } else {
          UNROLL for (int i = 0; i < VEC; ++i) to[column + i] = sums[v][i];
        }
      }
      to += D;
    }
  }
};

INLINE float plus(float p, float q) { return p + q; }
INLINE float4 plus(float4 p, float4 q) {
  return make_float4(p.x + q.x, p.y + q.y, p.z + q.z, p.w + q.w);
}

// Sums of what the groups of a block have in shared memory, `columns` each.
template <typename T>
INLINE void add_groups(float* to, const float* shared, int columns) {
  constexpr int kNumbers = sizeof(T) / sizeof(float);
  for (int column = threadIdx.x * kNumbers; column < columns; column += kThreads * kNumbers) {
    T sum = *reinterpret_cast<const T*>(shared + column);
    UNROLL for (int g = 1; g < GROUPS; ++g) {
      sum = plus(sum, *reinterpret_cast<const T*>(shared + g * columns + column));
    }
    *reinterpret_cast<T*>(to + column) = sum;
  }
}

// The block's sum of a number of each thread's; thread 0 writes it.
INLINE void write_number(float value, float*& to) {
  __shared__ float warps[32];
  UNROLL for (int lanes = 16; lanes > 0; lanes >>= 1) value += __shfl_xor_sync(~0u, value, lanes);
  __syncthreads();
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    float sum = 0.0f;
    for (int i = 0; i < kThreads / 32; ++i) sum += warps[i];
    *to = sum;
  }
  ++to;
}
)
