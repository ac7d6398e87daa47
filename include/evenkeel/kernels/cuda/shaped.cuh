// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/detail/shaped_args.hpp>
#include <evenkeel/kernels/detail/shared_code.hpp>

// y = alpha * v + beta * a - gamma * mean(v), and its backward, in one pass over the tensors. A
// block has one head of one batch row. It goes through the positions in tiles of GROUPS * ROWS; a
// group of threads has ROWS consecutive ones. Beside what elements.cuh names, capitals are:
//
//   ROWS            positions of a group in a tile
//   IDENTITY, CENTRED  are there the terms of alpha and of gamma
//   CAUSAL          is the mean that of the positions up to each, or of all
//   ALPHA, BETA, GAMMA   the gains: 0 none, which is 1; 1 one number; 2 one for each head
//   T_A, T_V, T_Y, T_GAIN   types
//   DALPHA, DBETA, DGAMMA   backward: gradients that are wanted beside that of v
EVENKEEL_DEVICE_CODE(kShapedCode,

constexpr int kTile = GROUPS * ROWS;
constexpr int kBlockWarps = kThreads / 32;
static_assert(TPR <= 32 && kThreads % 32 == 0, "a group lies within a warp");

template <int kCount>
INLINE float gain_of(const void* gain, int head) {
  if constexpr (kCount == 0) return 1.0f;
  const int at = kCount == 2 ? head : 0;
  if constexpr (T_GAIN == 0) {
    return static_cast<const float*>(gain)[at];
  } else {
    float value;
    float unused;
    unpack_two<T_GAIN>(static_cast<const u16*>(gain)[at], value, unused);
    return value;
  }
}

// Where a head of a batch row begins.
INLINE i64 place_of(const HeadStrides& strides, i64 batch, int head) {
  return batch * strides.batch + head * strides.head;
}

// A thread's elements of its group's rows of a tile; beyond the length they are 0.
template <int kType>
struct TileRows {
  Pack<kType> packs[ROWS];

  INLINE void load(const void* base, i64 place, i64 stride, int begin, int length, int column) {
    UNROLL for (int r = 0; r < ROWS; ++r) {
      if (begin + r < length && column < D) {
        packs[r].template load<true>(base, place + (begin + r) * stride + column);
      } else {
        UNROLL for (int i = 0; i < Pack<kType>::kWords; ++i) packs[r].words[i] = 0u;
      }
    }
  }
};

template <int kType>
INLINE void store_row(void* base, i64 at, const float (&values)[VEC]) {
  Pack<kType> pack;
  pack.set(values);
  pack.store(base, at);
}

// Of a value that each group has for each column: the sum over the groups of the block, and
// over those ahead of this one: before it forward, behind it backward.
template <bool kBackward>
INLINE void scan_groups(
    const float (&own)[VEC], float (&ahead)[VEC], float (&all)[VEC], int column) {
  __shared__ float warps[kBlockWarps][D];
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  UNROLL for (int i = 0; i < VEC; ++i) {
    float sum = own[i];
    UNROLL for (int lanes = TPR; lanes < 32; lanes <<= 1) {
      const float other =
          kBackward ? __shfl_down_sync(~0u, sum, lanes) : __shfl_up_sync(~0u, sum, lanes);
      if (kBackward ? lane + lanes < 32 : lane >= lanes) sum += other;
    }
    ahead[i] = sum;
  }
  __syncthreads();  // the last tile's sums have been read
  if ((kBackward ? lane < TPR : lane >= 32 - TPR) && column < D) {
    UNROLL for (int i = 0; i < VEC; ++i) warps[warp][column + i] = ahead[i];
  }
  __syncthreads();
  UNROLL for (int i = 0; i < VEC; ++i) {
    ahead[i] -= own[i];
    all[i] = 0.0f;
  }
  if (column >= D) return;
  UNROLL for (int w = 0; w < kBlockWarps; ++w) {
    const bool is_ahead = kBackward ? w > warp : w < warp;
    UNROLL for (int i = 0; i < VEC; ++i) {
      const float sum = warps[w][column + i];
      all[i] += sum;
      if (is_ahead) ahead[i] += sum;
    }
  }
}

// The sum over all positions, for a thread's columns.
template <int kType>
INLINE void sum_of_all(const void* base,
                       i64 place,
                       i64 stride,
                       int group,
                       int length,
                       int column,
                       float (&sum)[VEC]) {
  float own[VEC];
  float ahead[VEC];
  UNROLL for (int i = 0; i < VEC; ++i) own[i] = 0.0f;
  for (int first = 0; first < length; first += kTile) {
    TileRows<kType> rows;
    rows.load(base, place, stride, first + group * ROWS, length, column);
    UNROLL for (int r = 0; r < ROWS; ++r) {
      float values[VEC];
      rows.packs[r].get(values);
      UNROLL for (int i = 0; i < VEC; ++i) own[i] += values[i];
    }
  }
  scan_groups<false>(own, ahead, sum, column);
}

extern "C" __global__ void __launch_bounds__(kThreads)
    evenkeel_shaped_forward(const ShapedArgs args) {
  const int group = threadIdx.x / TPR;
  const int column = threadIdx.x % TPR * VEC;
  const int head = blockIdx.x % args.heads;
  const i64 batch = blockIdx.x / args.heads;
  wait_for_predecessor();
  let_successor_come();
  const float alpha = gain_of<ALPHA>(args.alpha, head);
  const float beta = gain_of<BETA>(args.beta, head);
  const float gamma = gain_of<GAMMA>(args.gamma, head);
  const i64 a = place_of(args.of_a, batch, head);
  const i64 v = place_of(args.of_v, batch, head);
  const i64 y = place_of(args.of_y, batch, head);
  float carry[VEC];
  UNROLL for (int i = 0; i < VEC; ++i) carry[i] = 0.0f;
  if (CENTRED && !CAUSAL)
    sum_of_all<T_V>(args.v, v, args.of_v.row, group, args.length, column, carry);
  for (int first = 0; first < args.length; first += kTile) {
    const int begin = first + group * ROWS;
    TileRows<T_A> as;
    TileRows<T_V> vs;
    if (IDENTITY || (CENTRED && CAUSAL))
      vs.load(args.v, v, args.of_v.row, begin, args.length, column);
    as.load(args.a, a, args.of_a.row, begin, args.length, column);
    float running[VEC];
    float all[VEC];
    if (CENTRED && CAUSAL) {
      float own[VEC];
      UNROLL for (int i = 0; i < VEC; ++i) own[i] = 0.0f;
      UNROLL for (int r = 0; r < ROWS; ++r) {
        float values[VEC];
        vs.packs[r].get(values);
        UNROLL for (int i = 0; i < VEC; ++i) own[i] += values[i];
      }
      scan_groups<false>(own, running, all, column);
      UNROLL for (int i = 0; i < VEC; ++i) running[i] += carry[i], carry[i] += all[i];
    }
    UNROLL for (int r = 0; r < ROWS; ++r) {
      const int row = begin + r;
      float sum[VEC];
      float values[VEC];
      as.packs[r].get(sum);
      if (IDENTITY || (CENTRED && CAUSAL)) vs.packs[r].get(values);
      const float share = gamma / static_cast<float>(CAUSAL ? row + 1 : args.length);
      UNROLL for (int i = 0; i < VEC; ++i) {
        sum[i] *= beta;
        if (IDENTITY) sum[i] = fmaf(alpha, values[i], sum[i]);
        if (CENTRED && CAUSAL) running[i] += values[i];
        if (CENTRED) sum[i] = fmaf(-share, CAUSAL ? running[i] : carry[i], sum[i]);
      }
      if (row < args.length && column < D)
        store_row<T_Y>(args.y, y + row * args.of_y.row + column, sum);
    }
  }
}

// The block's sum of a number of each thread's, which thread 0 writes.
INLINE void write_sum(float value, float* to) {
  __shared__ float sums[kBlockWarps];
  UNROLL for (int lanes = 16; lanes > 0; lanes >>= 1) value += __shfl_xor_sync(~0u, value, lanes);
  __syncthreads();
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x != 0) return;
  value = 0.0f;
  UNROLL for (int w = 0; w < kBlockWarps; ++w) value += sums[w];
  *to = value;
}

// Where attention read beta * v, whose gradient comes in as a: dv is beta * a + alpha * dy - gamma * R,
// where R is the sum of dy / count over the positions whose mean has that v. The gains' gradients are
// the sums of dy * v, of a * v and of -R * v.
extern "C" __global__ void __launch_bounds__(kThreads)
    evenkeel_shaped_backward(const ShapedArgs args) {
  const int group = threadIdx.x / TPR;
  const int column = threadIdx.x % TPR * VEC;
  const int head = blockIdx.x % args.heads;
  const i64 batch = blockIdx.x / args.heads;
  let_successor_come();
  wait_for_predecessor();
  const float alpha = gain_of<ALPHA>(args.alpha, head);
  const float beta = gain_of<BETA>(args.beta, head);
  const float gamma = gain_of<GAMMA>(args.gamma, head);
  const i64 a = place_of(args.of_a, batch, head);
  const i64 v = place_of(args.of_v, batch, head);
  const i64 dy = place_of(args.of_dy, batch, head);
  const i64 y = place_of(args.of_y, batch, head);
  float dalpha = 0.0f;
  float dbeta = 0.0f;
  float dgamma = 0.0f;
  float carry[VEC];
  UNROLL for (int i = 0; i < VEC; ++i) carry[i] = 0.0f;
  if (CENTRED && !CAUSAL) {
    sum_of_all<T_Y>(args.dy, dy, args.of_dy.row, group, args.length, column, carry);
    const float share = 1.0f / static_cast<float>(args.length);
    UNROLL for (int i = 0; i < VEC; ++i) carry[i] *= share;
  }
  for (int first = (args.length - 1) / kTile * kTile; first >= 0; first -= kTile) {
    const int begin = first + group * ROWS;
    TileRows<T_Y> dys;
    TileRows<T_V> vs;
    TileRows<T_A> as;
    dys.load(args.dy, dy, args.of_dy.row, begin, args.length, column);
    if (DALPHA || DBETA || DGAMMA) vs.load(args.v, v, args.of_v.row, begin, args.length, column);
    as.load(args.a, a, args.of_a.row, begin, args.length, column);
    float running[VEC];
    float all[VEC];
    if (CENTRED && CAUSAL) {
      float own[VEC];
      UNROLL for (int i = 0; i < VEC; ++i) own[i] = 0.0f;
      UNROLL for (int r = 0; r < ROWS; ++r) {
        float gradients[VEC];
        dys.packs[r].get(gradients);
        const float share = 1.0f / static_cast<float>(begin + r + 1);
        UNROLL for (int i = 0; i < VEC; ++i) own[i] = fmaf(gradients[i], share, own[i]);
      }
      scan_groups<true>(own, running, all, column);
      UNROLL for (int i = 0; i < VEC; ++i) running[i] += carry[i], carry[i] += all[i];
    }
    UNROLL for (int r = ROWS - 1; r >= 0; --r) {
      const int row = begin + r;
      float gradients[VEC];
      float of_a[VEC];
      float values[VEC];
      dys.packs[r].get(gradients);
      as.packs[r].get(of_a);
      if (DALPHA || DBETA || DGAMMA) vs.packs[r].get(values);
      const float share = 1.0f / static_cast<float>(row + 1);
      UNROLL for (int i = 0; i < VEC; ++i) {
        if (CENTRED && CAUSAL) running[i] = fmaf(gradients[i], share, running[i]);
        const float mean = CAUSAL ? running[i] : carry[i];
        if (DALPHA) dalpha = fmaf(gradients[i], values[i], dalpha);
        if (DBETA) dbeta = fmaf(of_a[i], values[i], dbeta);
        if (DGAMMA) dgamma = fmaf(-mean, values[i], dgamma);
        of_a[i] *= beta;
        if (IDENTITY) of_a[i] = fmaf(alpha, gradients[i], of_a[i]);
        if (CENTRED) of_a[i] = fmaf(-gamma, mean, of_a[i]);
      }
      if (row < args.length && column < D) store_row<T_V>(args.y, y + row * args.of_y.row + column, of_a);
    }
  }
  constexpr int kGains = DALPHA + DBETA + DGAMMA;
  float* to = args.sums + batch * kGains * args.heads + head;
  if (DALPHA) write_sum(dalpha, to);
  if (DBETA) write_sum(dbeta, to + DALPHA * args.heads);
  if (DGAMMA) write_sum(dgamma, to + (DALPHA + DBETA) * args.heads);
}

static_assert(sizeof(ShapedArgs) == SIZE_OF_ARGS && sizeof(SumsArgs) == SIZE_OF_SUMS_ARGS,
              "the program lays it out differently");
)
