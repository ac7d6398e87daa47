// SPDX-License-Identifier: MIT
#pragma once

namespace evenkeel::detail {

/// Last part of the kernels' source: what ends a backward, the sums over rows.
inline constexpr const char* kSumsSource = R"cuda(
#if BACKWARD
struct Out {
  void* to;
  int columns, type;
};

struct SumsArgs {
  const float* partial;
  Out out[5];
  int rows, columns;
};

// Sums the blocks' parts, always in the same order. Blocks of 16 columns x 8 threads: small enough to
// find room beside the blocks that they wait for.
extern "C" __global__ void __launch_bounds__(128) evenkeel_column_sums(const SumsArgs args) {
  constexpr int kAtOnce = 17;
  __shared__ float parts[8][16];
  const int lane = threadIdx.x % 16, part = threadIdx.x / 16;
  int column = blockIdx.x * 16 + lane;
  wait_for_predecessor();
  float sum = 0.0f;
  for (int first = part; first < args.rows && column < args.columns; first += 8 * kAtOnce) {
    float values[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {  // all on their way before the first is needed
      const int row = first + 8 * i;
      values[i] =
          row < args.rows ? args.partial[static_cast<i64>(row) * args.columns + column] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) sum += values[i];
  }
  parts[part][lane] = sum;
  __syncthreads();
  if (part != 0 || column >= args.columns) return;
  sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += parts[i][lane];
  // Which of the outputs, and where in it; a sum that only fills up a row belongs to none.
  void* to = nullptr;
  int type = 0, at = 0;
#pragma unroll
  for (int i = 0; i < 5; ++i) {
    if (column >= 0 && column < args.out[i].columns) {
      to = args.out[i].to, type = args.out[i].type, at = column;
    }
    column -= args.out[i].columns;
  }
  if (to == nullptr) return;
  if (type == 0) static_cast<float*>(to)[at] = sum;
  if (type == 1) static_cast<u16*>(to)[at] = static_cast<u16>(bfloat16_of_float(sum));
  if (type == 2) static_cast<u16*>(to)[at] = half_of_float(sum);
}
#endif
)cuda";

}  // namespace evenkeel::detail
