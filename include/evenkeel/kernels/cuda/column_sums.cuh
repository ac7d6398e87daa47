// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/shared_code.hpp>

// The sums over rows that a backward ends with: those of all blocks.
EVENKEEL_DEVICE_CODE(kColumnSumsCode,

// Sums the blocks' parts, always in the same order. Blocks of 16 columns x 16 threads, of 32 registers:
// they find room beside the blocks that they wait for.
extern "C" __global__ void __launch_bounds__(256, 8) evenkeel_column_sums(const SumsArgs args) {
  constexpr int kParts = 16, kAtOnce = 9;
  __shared__ float parts[kParts][16];
  const int lane = threadIdx.x % 16, part = threadIdx.x / 16;
  int column = blockIdx.x * 16 + lane;
  let_successor_come();
  wait_for_predecessor();
  float sum = 0.0f;
  for (int first = part; first < args.rows && column < args.columns; first += kParts * kAtOnce) {
    float values[kAtOnce];
    UNROLL for (int i = 0; i < kAtOnce; ++i) {  // all on their way before the first is needed
      const int row = first + kParts * i;
      values[i] =
          row < args.rows ? args.sums[static_cast<i64>(row) * args.columns + column] : 0.0f;
    }
    UNROLL for (int i = 0; i < kAtOnce; ++i) sum += values[i];
  }
  parts[part][lane] = sum;
  __syncthreads();
  if (part != 0 || column >= args.columns) return;
  sum = 0.0f;
  UNROLL for (int i = 0; i < kParts; ++i) sum += parts[i][lane];
  // Which of the outputs, and where in it; a sum that only fills up a row belongs to none.
  void* to = nullptr;
  int type = 0, at = 0;
  UNROLL for (int i = 0; i < 5; ++i) {
    if (column >= 0 && column < args.gradients[i].columns) {
      to = args.gradients[i].to, type = args.gradients[i].type, at = column;
    }
    column -= args.gradients[i].columns;
  }
  if (to == nullptr) return;
  if (type == 0) static_cast<float*>(to)[at] = sum;
  if (type == 1) static_cast<u16*>(to)[at] = static_cast<u16>(bfloat16_of_float(sum));
  if (type == 2) static_cast<u16*>(to)[at] = half_of_float(sum);
}
)
