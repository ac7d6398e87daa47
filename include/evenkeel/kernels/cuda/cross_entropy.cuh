// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/detail/cross_entropy_args.hpp>
#include <evenkeel/kernels/detail/shared_code.hpp>

// The cross-entropy of rows of logits, with a share of each target spread over all columns, in float
// and in one pass over the logits, and its gradient in another. A block has a row. Beside what
// elements.cuh names, capitals are:
//
//   T_LOGITS        type of the logits: 1 bfloat16, 2 half
EVENKEEL_DEVICE_CODE(kCrossEntropyCode,

// Of the elements seen so far: the largest, the sum of exp(x - largest), the sum of x.
struct Seen {
  float largest;
  float sum;
  float total;

  INLINE void add(const Seen& other) {
    const float most = fmaxf(largest, other.largest);
    const float from = most == never() ? 0.0f : most;  // of threads without an element
    sum = sum * __expf(largest - from) + other.sum * __expf(other.largest - from);
    largest = most;
    total += other.total;
  }
};

extern "C" __global__ void __launch_bounds__(kThreads)
    evenkeel_cross_entropy_forward(const CrossEntropyArgs args) {
  constexpr int kRowWarps = kThreads / 32;
  __shared__ Seen of_warps[kRowWarps];
  const i64 row = blockIdx.x;
  let_successor_come();
  wait_for_predecessor();
  const i64 target = args.targets[row];
  const i64 begin = row * args.columns;
  Seen seen;
  seen.largest = never();
  seen.sum = seen.total = 0.0f;
  for (i64 column = threadIdx.x * VEC; column < args.columns; column += kThreads * VEC) {
    Pack<T_LOGITS> pack;
    pack.template load<false>(args.logits, begin + column);
    float values[VEC];
    pack.get(values);
    Seen here;
    here.largest = values[0];
    UNROLL for (int i = 1; i < VEC; ++i) here.largest = fmaxf(here.largest, values[i]);
    here.sum = here.total = 0.0f;
    UNROLL for (int i = 0; i < VEC; ++i) {
      here.sum += __expf(values[i] - here.largest);
      here.total += values[i];
    }
    seen.add(here);
  }
  UNROLL for (int lanes = 16; lanes > 0; lanes >>= 1) {
    Seen other;
    other.largest = __shfl_xor_sync(~0u, seen.largest, lanes);
    other.sum = __shfl_xor_sync(~0u, seen.sum, lanes);
    other.total = __shfl_xor_sync(~0u, seen.total, lanes);
    seen.add(other);
  }
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = seen;
  __syncthreads();
  if (threadIdx.x != 0) return;
  UNROLL for (int w = 1; w < kRowWarps; ++w) seen.add(of_warps[w]);
  const float log_sum = seen.largest + logf(seen.sum);
  args.log_sums[row] = log_sum;
  float loss = 0.0f;
  if (target != args.ignored) {
    float logit = __uint_as_float(0x7fc00000u);  // NaN, for a target that is no column
    float unused;
    if (target >= 0 && target < args.columns)
      unpack_two<T_LOGITS>(static_cast<const u16*>(args.logits)[begin + target], logit, unused);
    const float mean = seen.total / static_cast<float>(args.columns);
    loss = log_sum - (1.0f - args.smoothing) * logit - args.smoothing * mean;
  }
  args.losses[row] = loss;
}

extern "C" __global__ void __launch_bounds__(kThreads)
    evenkeel_cross_entropy_backward(const CrossEntropyArgs args) {
  const i64 row = blockIdx.x;
  let_successor_come();
  wait_for_predecessor();
  const i64 target = args.targets[row];
  const i64 begin = row * args.columns;
  const float dloss = target == args.ignored ? 0.0f : *args.dloss;
  const float log_sum = args.log_sums[row];
  const float spread = args.smoothing / static_cast<float>(args.columns);
  for (i64 column = threadIdx.x * VEC; column < args.columns; column += kThreads * VEC) {
    Pack<T_LOGITS> pack;
    pack.template load<true>(args.logits, begin + column);
    float values[VEC];
    pack.get(values);
    UNROLL for (int i = 0; i < VEC; ++i) {
      const float wanted = column + i == target ? 1.0f - args.smoothing + spread : spread;
      values[i] = dloss * (__expf(values[i] - log_sum) - wanted);
      if (target == args.ignored) values[i] = 0.0f;
    }
    pack.set(values);
    pack.store(args.dlogits, begin + column);
  }
}

static_assert(sizeof(CrossEntropyArgs) == SIZE_OF_ARGS, "the program lays it out differently");
)
