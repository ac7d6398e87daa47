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
#pragma unroll
  for (int i = 0; i < 5; ++i) {
    const Out& out = args.out[i];
    if (column < out.columns) {
      if (out.type == 0) static_cast<float*>(out.to)[column] = sum;
      if (out.type == 1) static_cast<u16*>(out.to)[column] = static_cast<u16>(bfloat16_of_float(sum));
      if (out.type == 2) static_cast<u16*>(out.to)[column] = half_of_float(sum);
      return;
    }
    column -= out.columns;
  }
}
#endif
)cuda";

}  // namespace evenkeel::detail
