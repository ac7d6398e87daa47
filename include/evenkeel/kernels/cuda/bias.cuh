// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/detail/bias_args.hpp>
#include <evenkeel/kernels/detail/shared_code.hpp>

// The gradient of a matrix's bias, which is the sum of dz over the rows, and dz = dy where y > 0 behind
// a ReLU, in one pass. Each block writes the sums of its rows; column_sums.cuh adds them. Beside what
// elements.cuh names, capitals are:
//
//   T_Y             type of dy, y and dz
//   RELU            is there a ReLU
EVENKEEL_DEVICE_CODE(kBiasCode,

extern "C" __global__ void __launch_bounds__(kThreads) evenkeel_bias_backward(const BiasArgs args) {
  constexpr int kColumns = TPR * VEC;
  __shared__ float of_groups[GROUPS][kColumns];
  const int group = threadIdx.x / TPR;
  const int lane = threadIdx.x % TPR;
  float sums[kVectors][VEC];
  UNROLL for (int v = 0; v < kVectors; ++v) {
    UNROLL for (int i = 0; i < VEC; ++i) sums[v][i] = 0.0f;
  }
  let_successor_come();
  wait_for_predecessor();
  for (i64 row = blockIdx.x * GROUPS + group; row < args.rows; row += gridDim.x * GROUPS) {
    Pack<T_Y> dys[kVectors];
    Pack<T_Y> ys[kVectors];
    UNROLL for (int v = 0; v < kVectors; ++v) {
      const int column = (v * TPR + lane) * VEC;
      if (kRagged && column >= D) continue;
      dys[v].template load<true>(args.dy, row * D + column);
      if constexpr (RELU) ys[v].template load<true>(args.y, row * D + column);
    }
    UNROLL for (int v = 0; v < kVectors; ++v) {
      const int column = (v * TPR + lane) * VEC;
      if (kRagged && column >= D) continue;
      float gradients[VEC];
      dys[v].get(gradients);
      if constexpr (RELU) {
        float values[VEC];
        ys[v].get(values);
        UNROLL for (int i = 0; i < VEC; ++i) gradients[i] = values[i] > 0.0f ? gradients[i] : 0.0f;
        Pack<T_Y> pack;
        pack.set(gradients);
        pack.store(args.dz, row * D + column);
      }
      UNROLL for (int i = 0; i < VEC; ++i) sums[v][i] += gradients[i];
    }
  }
  UNROLL for (int v = 0; v < kVectors; ++v) {
    __syncthreads();
    UNROLL for (int i = 0; i < VEC; ++i) of_groups[group][lane * VEC + i] = sums[v][i];
    __syncthreads();
    for (int i = threadIdx.x; i < kColumns; i += kThreads) {
      const int column = v * kColumns + i;
      if (kRagged && column >= D) continue;
      float sum = 0.0f;
      UNROLL for (int g = 0; g < GROUPS; ++g) sum += of_groups[g][i];
      args.sums[static_cast<i64>(blockIdx.x) * D + column] = sum;
    }
  }
}

static_assert(sizeof(BiasArgs) == SIZE_OF_ARGS && sizeof(SumsArgs) == SIZE_OF_SUMS_ARGS,
              "the program lays it out differently");
)
