// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/rows.cuh>
#include <evenkeel/kernels/detail/shared_code.hpp>

// The forward kernel. Of each row it writes the mean and 1 / deviation for backward.
EVENKEEL_DEVICE_CODE(kForwardCode,

extern "C" __global__ void __launch_bounds__(kThreads, RESIDENT)
    evenkeel_residual_forward(const ResidualArgs args) {
  using RowsX = Rows<T_X, 0>;
  using RowsFX = Rows<T_F_X, RowsX::kEnd>;
  __shared__ float2 scratch[2][GROUPS * kWarps];
  u8* ring = reinterpret_cast<u8*>(shared_memory);
  Walk<false> walk(args.rows);
  const int group = walk.group, t = walk.t;
  wait_for_predecessor();
  let_successor_come();  // who reads x and f_x before it waits finds them whole
  const auto fetch = [&](int stage, i64 row) {
    RowsX::fetch(ring + stage * RowsFX::kEnd, args.x, row, t);
    RowsFX::fetch(ring + stage * RowsFX::kEnd, args.f_x, row, t);
  };
  walk.start(fetch);
  Parameters parameters;
  Parameter<T_NORM, HAS_NORM_WEIGHT ? 2 : 0> norm_weight;
  Parameter<T_NORM, HAS_NORM_BIAS ? 2 : 0> norm_bias;
  parameters.read(args, t, true);
  norm_weight.read(args.norm_weight, t, true), norm_bias.read(args.norm_bias, t, true);
  u64 seed = args.seed, offset = args.offset;
  if (DROPS && args.captured) {
    seed = *reinterpret_cast<const u64*>(seed);
    offset = *reinterpret_cast<const u64*>(offset) + args.offset_in_graph;
  }
  if (DROPS && args.random != nullptr && blockIdx.x == 0 && threadIdx.x == 0) {
    args.random[0] = seed, args.random[1] = offset;
  }

  for (; walk.first < args.rows; walk.first += walk.step) {
    const i64 row = walk.row(0);
    const bool here = walk.within(0);
    Pack<T_X> x[kVectors];
    Pack<T_F_X> f_x[kVectors];
    walk.fetch_ahead(fetch);
    if (STAGES > 1 || here) {
      RowsX::take(x, ring + walk.stage * RowsFX::kEnd, args.x, row, t);
      RowsFX::take(f_x, ring + walk.stage * RowsFX::kEnd, args.f_x, row, t);
    }
    walk.turn_ring();
    parameters.read(args, t, false);

    float s[kVectors][VEC], mean = 0.0f, squares = 0.0f;
    UNROLL for (int v = 0; v < kVectors; ++v) {
      const int column = (v * TPR + t) * VEC;
      float xs[VEC], f_xs[VEC], shortcuts[VEC], branches[VEC], biases[VEC];
      x[v].get(xs), f_x[v].get(f_xs);
      parameters.shortcut.get(v, shortcuts, 1.0f), parameters.branch.get(v, branches, 1.0f);
      parameters.bias.get(v, biases, 0.0f);
      const u32 kept = DROPS ? kept_columns(seed, offset, row, column, args.threshold) : 0;
      UNROLL for (int i = 0; i < VEC; ++i) {
        s[v][i] = joined(xs[i], dropped_of(f_xs[i], biases[i], kept, i, args.scale), shortcuts[i],
                         branches[i]);
        if (kRagged && column >= D) s[v][i] = 0.0f;
        mean += kRagged ? s[v][i] : s[v][i] - s[0][0];
        if (NORM == 2) squares = fmaf(s[v][i], s[v][i], squares);
      }
    }
    if (NORM == 1 && kRagged) {
      float unused = 0.0f;
      sum_over_row(mean, unused, scratch[walk.turn], group, t);
      walk.turn ^= 1, mean *= 1.0f / D;
    } else if (NORM == 1) {
      mean = fmaf(mean, 1.0f / (kVectors * VEC), s[0][0]);
    }
    float distances = 0.0f;
    if (NORM == 1) {
      UNROLL for (int v = 0; v < kVectors; ++v) {
        if (kRagged && (v * TPR + t) * VEC >= D) continue;
        UNROLL for (int i = 0; i < VEC; ++i) {
          const float distance = s[v][i] - mean;
          squares = fmaf(distance, distance, squares);
          if (kRagged) distances += distance;
        }
      }
    }
    if (NORM == 1 && !kRagged) {
      moments_over_row(mean, squares, scratch[walk.turn], group, t);
    } else if (NORM != 0) {
      sum_over_row(squares, distances, scratch[walk.turn], group, t);
      if (NORM == 1) {  // the mean was off by so much
        distances *= 1.0f / D;
        mean += distances;
        squares -= distances * distances * D;
        if (squares < 0.0f) squares = 0.0f;
      }
    }
    walk.turn ^= 1;
    if (NORM != 1) mean = 0.0f;
    const float scale = NORM == 0 ? 1.0f : rsqrtf(fmaf(squares, 1.0f / D, args.eps));
    if (!here) continue;
    norm_weight.read(args.norm_weight, t, false), norm_bias.read(args.norm_bias, t, false);
    UNROLL for (int v = 0; v < kVectors; ++v) {
      const int column = (v * TPR + t) * VEC;
      if (kRagged && column >= D) continue;
      if (HAS_SUM) {
        Pack<T_SUM> sums;
        sums.set(s[v]);
        sums.store(args.sum, row * D + column);
      }
      if (NORM != 0) {
        float weights[VEC], biases[VEC];
        norm_weight.get(v, weights, 1.0f), norm_bias.get(v, biases, 0.0f);
        UNROLL for (int i = 0; i < VEC; ++i) {
          const float normed = (s[v][i] - mean) * scale;
          s[v][i] = HAS_NORM_BIAS ? fmaf(normed, weights[i], biases[i]) : normed * weights[i];
        }
        Pack<T_Y> ys;
        ys.set(s[v]);
        ys.store(args.y, row * D + column);
      }
    }
    if (NORM != 0 && args.stats != nullptr && t == 0) {
      reinterpret_cast<float2*>(args.stats)[row] = make_float2(mean, scale);
    }
  }
}
)
