// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/detail/attention_args.hpp>
#include <evenkeel/kernels/detail/shared_code.hpp>

// softmax(scale * q k^T + mask) v and its backward for short sequences, in one pass over the tensors.
// A block has one head of one batch row, all of it in shared memory; a warp has 16 queries, or 16 keys
// for the gradients of keys and values. Backward computes the weights again. All products are those of
// tensor cores, with sums in float. Beside what elements.cuh names, capitals are:
//
//   KEYS            most keys, a multiple of 16
//   T_HEADS         type of q, k, v and y: 1 bfloat16, 2 half
//   MASK, T_MASK    is there a mask, and of what type
//   CAUSAL          query t sees the keys up to S - T + t
EVENKEEL_DEVICE_CODE(kAttentionCode,

constexpr int kPitch = D + 8;          // of a row in shared memory: ldmatrix then meets no conflict
constexpr int kWeightsPitch = KEYS + 8;
constexpr int kTiles = KEYS / 8;
constexpr float kLog2e = 1.4426950408889634f;

INLINE float power_of_two(float exponent) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(exponent));
  return power;
}

INLINE int padded(int length) { return (length + 15) / 16 * 16; }

// Four 8 x 8 matrices; `from` is the thread's row of one of them.
template <bool kTranspose>
INLINE void load_matrices(u32 (&to)[4], const u16* from) {
  const u32 address = static_cast<u32>(__cvta_generic_to_shared(from));
  if constexpr (kTranspose) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  }
}

// sum += a * b, 16 x 16 by 16 x 8.
INLINE void multiply(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  if constexpr (T_HEADS == 1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// Rows of a head into shared memory, up to a multiple of 16, the last ones 0.
INLINE void copy_rows(u16* to, const void* base, const HeadStrides& strides, i64 batch, int head, int rows) {
  constexpr int kChunks = D / 8;
  const u16* from = static_cast<const u16*>(base) + batch * strides.batch + head * strides.head;
  for (int i = threadIdx.x; i < padded(rows) * kChunks; i += blockDim.x) {
    const int row = i / kChunks;
    const int column = i % kChunks * 8;
    const bool is_there = row < rows;
    const u32 address = static_cast<u32>(__cvta_generic_to_shared(to + row * kPitch + column));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(address), "l"(from + (is_there ? row * strides.row : 0) + column), "r"(is_there ? 16 : 0)
                 : "memory");
  }
}

INLINE void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
}

// What is added to the scores of each key, times log2(e); -inf for one that there is not.
INLINE void load_mask(float* mask, const AttentionArgs& args, i64 batch) {
  for (int key = threadIdx.x; key < KEYS; key += blockDim.x) {
    float value = key < args.keys ? 0.0f : never();
    if constexpr (MASK) {
      if (key < args.keys) {
        const i64 at = batch * args.of_mask + key;
        if constexpr (T_MASK == 0) {
          value = static_cast<const float*>(args.mask)[at];
        } else {
          float unused;
          unpack_two<T_MASK>(static_cast<const u16*>(args.mask)[at], value, unused);
        }
      }
    }
    mask[key] = value * kLog2e;
  }
}

// Of 16 rows and of all keys: rows * columns^T.
INLINE void products(float (&c)[kTiles][4], const u16* rows, const u16* columns, int keys) {
  const int lane = threadIdx.x % 32;
  UNROLL for (int n = 0; n < kTiles; ++n) {
    UNROLL for (int i = 0; i < 4; ++i) c[n][i] = 0.0f;
  }
  UNROLL for (int k = 0; k < D; k += 16) {
    u32 a[4];
    load_matrices<false>(a, rows + lane % 16 * kPitch + k + lane / 16 * 8);
    UNROLL for (int n = 0; n < KEYS; n += 16) {
      if (n < keys) {
        u32 b[4];
        load_matrices<false>(b, columns + (n + lane / 16 * 8 + lane % 8) * kPitch + k + lane / 8 % 2 * 8);
        multiply(c[n / 8], a, b[0], b[1]);
        multiply(c[n / 8 + 1], a, b[2], b[3]);
      }
    }
  }
}

// Over the four threads that share a row.
INLINE float largest_of_row(float value) {
  value = fmaxf(value, __shfl_xor_sync(~0u, value, 1));
  return fmaxf(value, __shfl_xor_sync(~0u, value, 2));
}
INLINE float sum_of_row(float value) {
  value += __shfl_xor_sync(~0u, value, 1);
  return value + __shfl_xor_sync(~0u, value, 2);
}

// Products of queries and keys become the weights of attention. A query that sees no key has none.
INLINE void softmax(float (&c)[kTiles][4], const float* mask, const AttentionArgs& args, int first_query) {
  const int lane = threadIdx.x % 32;
  const float scale = args.scale * kLog2e;
  UNROLL for (int half = 0; half < 2; ++half) {
    const int last_key = first_query + lane / 4 + half * 8 + args.keys - args.queries;
    float largest = never();
    UNROLL for (int n = 0; n < kTiles; ++n) {
      UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) {
        const int key = n * 8 + lane % 4 * 2 + i % 2;
        float score = fmaf(c[n][i], scale, mask[key]);
        if (CAUSAL && key > last_key) score = never();
        c[n][i] = score;
        largest = fmaxf(largest, score);
      }
    }
    largest = largest_of_row(largest);
    const float from = largest == never() ? 0.0f : largest;
    float sum = 0.0f;
    UNROLL for (int n = 0; n < kTiles; ++n) {
      UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) {
        c[n][i] = power_of_two(c[n][i] - from);
        sum += c[n][i];
      }
    }
    sum = sum_of_row(sum);
    const float share = sum > 0.0f ? 1.0f / sum : 0.0f;
    UNROLL for (int n = 0; n < kTiles; ++n) {
      UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) c[n][i] *= share;
    }
  }
}

// 16 x 16 of such numbers as the left side of a product.
INLINE void as_left(u32 (&a)[4], const float (&c)[kTiles][4], int tile) {
  a[0] = pack_two<T_HEADS>(c[tile][0], c[tile][1]);
  a[1] = pack_two<T_HEADS>(c[tile][2], c[tile][3]);
  a[2] = pack_two<T_HEADS>(c[tile + 1][0], c[tile + 1][1]);
  a[3] = pack_two<T_HEADS>(c[tile + 1][2], c[tile + 1][3]);
}

// sums += a * rows, where `rows` are 16 rows of a head.
INLINE void add_products(float (&sums)[D / 8][4], const u32 (&a)[4], const u16* rows) {
  const int lane = threadIdx.x % 32;
  UNROLL for (int n = 0; n < D; n += 16) {
    u32 b[4];
    load_matrices<true>(b, rows + lane % 16 * kPitch + n + lane / 16 * 8);
    multiply(sums[n / 8], a, b[0], b[1]);
    multiply(sums[n / 8 + 1], a, b[2], b[3]);
  }
}

INLINE void clear(float (&sums)[D / 8][4]) {
  UNROLL for (int n = 0; n < D / 8; ++n) {
    UNROLL for (int i = 0; i < 4; ++i) sums[n][i] = 0.0f;
  }
}

// 16 rows of a head to memory. Two threads next to each other exchange halves, so that each writes 8
// bytes side by side.
INLINE void store_rows(void* base,
                       const HeadStrides& strides,
                       i64 batch,
                       int head,
                       int first,
                       int rows,
                       const float (&sums)[D / 8][4]) {
  const int lane = threadIdx.x % 32;
  u16* to = static_cast<u16*>(base) + batch * strides.batch + head * strides.head;
  const bool is_odd = lane % 2 == 1;
  UNROLL for (int half = 0; half < 2; ++half) {
    const int row = first + lane / 4 + half * 8;
    UNROLL for (int n = 0; n < D / 8; n += 2) {
      const u32 left = pack_two<T_HEADS>(sums[n][2 * half], sums[n][2 * half + 1]);
      const u32 right = pack_two<T_HEADS>(sums[n + 1][2 * half], sums[n + 1][2 * half + 1]);
      const u32 other = __shfl_xor_sync(~0u, is_odd ? left : right, 1);
      const int column = (is_odd ? n + 1 : n) * 8 + lane % 4 / 2 * 4;
      if (row < rows) {
        *reinterpret_cast<uint2*>(to + row * strides.row + column) =
            is_odd ? make_uint2(other, right) : make_uint2(left, other);
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(256) evenkeel_attention_forward(const AttentionArgs args) {
  extern __shared__ uint4 memory[];
  __shared__ float mask[KEYS];
  u16* const q = reinterpret_cast<u16*>(memory);
  u16* const k = q + padded(args.queries) * kPitch;
  u16* const v = k + padded(args.keys) * kPitch;
  const int head = blockIdx.x % args.heads;
  const i64 batch = blockIdx.x / args.heads;
  let_successor_come();
  wait_for_predecessor();
  copy_rows(q, args.q, args.of_q, batch, head, args.queries);
  copy_rows(k, args.k, args.of_k, batch, head, args.keys);
  copy_rows(v, args.v, args.of_v, batch, head, args.keys);
  load_mask(mask, args, batch);
  wait_for_copies();
  for (int first = threadIdx.x / 32 * 16; first < args.queries; first += blockDim.x / 2) {
    float weights[kTiles][4];
    products(weights, q + first * kPitch, k, args.keys);
    softmax(weights, mask, args, first);
    float y[D / 8][4];
    clear(y);
    UNROLL for (int key = 0; key < KEYS; key += 16) {
      if (key < args.keys) {
        u32 a[4];
        as_left(a, weights, key / 8);
        add_products(y, a, v + key * kPitch);
      }
    }
    store_rows(args.y, args.of_y, batch, head, first, args.queries, y);
  }
}

// The gradients of 16 keys, or values: left^T * rows, where `left` has what each query gives to each.
INLINE void gradient_of_keys(void* base,
                             const HeadStrides& strides,
                             i64 batch,
                             int head,
                             int first,
                             const AttentionArgs& args,
                             const u16* left,
                             const u16* rows) {
  const int lane = threadIdx.x % 32;
  float sums[D / 8][4];
  clear(sums);
  for (int query = 0; query < args.queries; query += 16) {
    u32 a[4];
    load_matrices<true>(a, left + (query + lane / 16 * 8 + lane % 8) * kWeightsPitch + first + lane / 8 % 2 * 8);
    add_products(sums, a, rows + query * kPitch);
  }
  store_rows(base, strides, batch, head, first, args.keys, sums);
}

extern "C" __global__ void __launch_bounds__(256) evenkeel_attention_backward(const AttentionArgs args) {
  extern __shared__ uint4 memory[];
  __shared__ float mask[KEYS];
  const int queries = padded(args.queries);
  u16* const q = reinterpret_cast<u16*>(memory);
  u16* const dy = q + queries * kPitch;
  u16* const k = dy + queries * kPitch;
  u16* const v = k + padded(args.keys) * kPitch;
  u16* const weights = v + padded(args.keys) * kPitch;
  u16* const dscores = weights + queries * kWeightsPitch;
  const int head = blockIdx.x % args.heads;
  const i64 batch = blockIdx.x / args.heads;
  const int lane = threadIdx.x % 32;
  let_successor_come();
  wait_for_predecessor();
  copy_rows(q, args.q, args.of_q, batch, head, args.queries);
  copy_rows(k, args.k, args.of_k, batch, head, args.keys);
  copy_rows(v, args.v, args.of_v, batch, head, args.keys);
  copy_rows(dy, args.dy, args.of_dy, batch, head, args.queries);
  load_mask(mask, args, batch);
  wait_for_copies();
  for (int first = threadIdx.x / 32 * 16; first < args.queries; first += blockDim.x / 2) {
    float p[kTiles][4];
    float dp[kTiles][4];
    products(p, q + first * kPitch, k, args.keys);
    softmax(p, mask, args, first);
    products(dp, dy + first * kPitch, v, args.keys);
    UNROLL for (int half = 0; half < 2; ++half) {
      float mean = 0.0f;
      UNROLL for (int n = 0; n < kTiles; ++n) {
        UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) mean = fmaf(p[n][i], dp[n][i], mean);
      }
      mean = sum_of_row(mean);
      UNROLL for (int n = 0; n < kTiles; ++n) {
        UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i)
          dp[n][i] = p[n][i] * (dp[n][i] - mean) * args.scale;
        const int at = (first + lane / 4 + half * 8) * kWeightsPitch + n * 8 + lane % 4 * 2;
        *reinterpret_cast<u32*>(weights + at) = pack_two<T_HEADS>(p[n][2 * half], p[n][2 * half + 1]);
        *reinterpret_cast<u32*>(dscores + at) = pack_two<T_HEADS>(dp[n][2 * half], dp[n][2 * half + 1]);
      }
    }
    float dq[D / 8][4];
    clear(dq);
    UNROLL for (int key = 0; key < KEYS; key += 16) {
      if (key < args.keys) {
        u32 a[4];
        as_left(a, dp, key / 8);
        add_products(dq, a, k + key * kPitch);
      }
    }
    store_rows(args.dq, args.of_dq, batch, head, first, args.queries, dq);
  }
  __syncthreads();
  for (int first = threadIdx.x / 32 * 16; first < args.keys; first += blockDim.x / 2) {
    gradient_of_keys(args.dv, args.of_dv, batch, head, first, args, weights, dy);
    gradient_of_keys(args.dk, args.of_dk, batch, head, first, args, dscores, q);
  }
}

static_assert(sizeof(AttentionArgs) == SIZE_OF_ARGS, "the program lays it out differently");
)
