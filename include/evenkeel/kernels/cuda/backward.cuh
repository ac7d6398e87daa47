// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/sums.cuh>
#include <evenkeel/kernels/detail/shared_code.hpp>

// The backward kernel: one pass over the rows, from the last to the first, with the sum computed again.
// Where the gradients of x and f_x are equal, DX alone is wanted.
EVENKEEL_DEVICE_CODE(kBackwardCode,

// As if there were more threads: that leaves registers to the blocks of the kernel that sums up, which
// are on the machine before these are done.
extern "C" __global__ void __launch_bounds__(kThreads * 8 / 7, RESIDENT)
    evenkeel_residual_backward(const ResidualArgs args) {
  using RowsX = Rows<T_X, 0>;
  using RowsFX = Rows<T_F_X, RowsX::kEnd>;
  using RowsY = Rows<T_Y, RowsFX::kEnd>;
  using RowsSum = Rows<T_SUM, HAS_DY ? RowsY::kEnd : RowsFX::kEnd>;
  constexpr int kStage = HAS_DSUM ? RowsSum::kEnd : HAS_DY ? RowsY::kEnd : RowsFX::kEnd;
  __shared__ float2 scratch[2][GROUPS * kWarps];
  u8* ring = reinterpret_cast<u8*>(shared_memory);
  Walk<true> walk(args.rows);  // what came last into the L2 cache is there still
  const int group = walk.group, t = walk.t;
  let_successor_come();
  const auto fetch_inputs = [&](int stage, i64 row) {
    RowsX::fetch(ring + stage * kStage, args.x, row, t);
    RowsFX::fetch(ring + stage * kStage, args.f_x, row, t);
  };
  const auto fetch_gradients = [&](int stage, i64 row) {
    if (HAS_DY) RowsY::fetch(ring + stage * kStage, args.dy, row, t);
    if (HAS_DSUM) RowsSum::fetch(ring + stage * kStage, args.dsum, row, t);
  };
  const auto fetch = [&](int stage, i64 row) {
    fetch_inputs(stage, row), fetch_gradients(stage, row);
  };
  if (!args.inputs_stayed) wait_for_predecessor();
  walk.start(fetch_inputs);
  wait_for_predecessor();
  walk.start(fetch_gradients);
  constexpr bool kNorm = NORM != 0 && HAS_DY;
  const float2* stats = reinterpret_cast<const float2*>(args.stats);
  float2 next_stats = make_float2(0.0f, 0.0f);
  if (kNorm && walk.within(0)) next_stats = stats[walk.row(0)];
  Parameters parameters;
  Parameter<T_NORM, HAS_NORM_WEIGHT && kNorm ? 2 : 0> norm_weight;
  parameters.read(args, t, true);
  norm_weight.read(args.norm_weight, t, true);
  const u64 seed = DROPS ? args.random[0] : 0, offset = DROPS ? args.random[1] : 0;
  Sums<kShortcutColumns> dshortcut;
  Sums<kBranchColumns> dbranch;
  Sums<DBIAS> dbias;
  Sums<DNORM_WEIGHT> dnorm_weight;
  Sums<DNORM_BIAS> dnorm_bias;
  dshortcut.clear(), dbranch.clear(), dbias.clear(), dnorm_weight.clear(), dnorm_bias.clear();
  float dshortcut_number = 0.0f, dbranch_number = 0.0f;

  for (; walk.first < args.rows; walk.first += walk.step) {
    const i64 row = walk.row(0);
    const bool here = walk.within(0);
    Pack<T_X> x[kVectors];
    Pack<T_F_X> f_x[kVectors];
    Pack<T_Y> dy[kVectors];
    Pack<T_SUM> dsum[kVectors];
    walk.fetch_ahead(fetch);
    if (STAGES > 1 || here) {
      u8* at = ring + walk.stage * kStage;
      RowsX::take(x, at, args.x, row, t);
      RowsFX::take(f_x, at, args.f_x, row, t);
      if (HAS_DY) RowsY::take(dy, at, args.dy, row, t);
      if (HAS_DSUM) RowsSum::take(dsum, at, args.dsum, row, t);
    }
    walk.turn_ring();
    parameters.read(args, t, false);
    norm_weight.read(args.norm_weight, t, false);
    const float mean = next_stats.x, scale = next_stats.y;
    if (kNorm && walk.within(1)) next_stats = stats[walk.row(1)];

    // normed = (s - mean) * scale, h = gradient of normed; ds = scale * (h - p / D - normed * q / D)
    float normed[kVectors][VEC], h[kVectors][VEC], p = 0.0f, q = 0.0f;
    u32 kept[kVectors];
    UNROLL for (int v = 0; v < kVectors; ++v) {
      const int column = (v * TPR + t) * VEC;
      float xs[VEC], f_xs[VEC], shortcuts[VEC], branches[VEC], biases[VEC], weights[VEC], dys[VEC];
      kept[v] = DROPS ? kept_columns(seed, offset, row, column, args.threshold) : 0;
      if (kNorm) {
        x[v].get(xs), f_x[v].get(f_xs), dy[v].get(dys);
        parameters.shortcut.get(v, shortcuts, 1.0f), parameters.branch.get(v, branches, 1.0f);
        parameters.bias.get(v, biases, 0.0f), norm_weight.get(v, weights, 1.0f);
        UNROLL for (int i = 0; i < VEC; ++i) {
          const float s = joined(xs[i], dropped_of(f_xs[i], biases[i], kept[v], i, args.scale),
                                 shortcuts[i], branches[i]);
          normed[v][i] = (NORM == 1 ? s - mean : s) * scale;
          h[v][i] = dys[i] * weights[i];
          if (kRagged && column >= D) normed[v][i] = h[v][i] = 0.0f;
          p += h[v][i], q = fmaf(h[v][i], normed[v][i], q);
          if (here && !(kRagged && column >= D)) {
            dnorm_weight.add(v, i, dys[i], normed[v][i]), dnorm_bias.add(v, i, dys[i]);
          }
        }
      }
    }
    if (kNorm) {
      sum_over_row(p, q, scratch[walk.turn], group, t);
      walk.turn ^= 1;
    }
    p = NORM == 1 ? p * (1.0f / D) : 0.0f, q *= 1.0f / D;
    if (!here) continue;
    UNROLL for (int v = 0; v < kVectors; ++v) {
      const int column = (v * TPR + t) * VEC;
      if (kRagged && column >= D) continue;
      float xs[VEC], f_xs[VEC], shortcuts[VEC], branches[VEC], biases[VEC], dsums[VEC];
      float dxs[VEC], df_xs[VEC];
      x[v].get(xs), f_x[v].get(f_xs);
      parameters.shortcut.get(v, shortcuts, 1.0f), parameters.branch.get(v, branches, 1.0f);
      parameters.bias.get(v, biases, 0.0f);
      if (HAS_DSUM) dsum[v].get(dsums);
      UNROLL for (int i = 0; i < VEC; ++i) {
        float ds = kNorm ? scale * (h[v][i] - fmaf(normed[v][i], q, p)) : 0.0f;
        if (HAS_DSUM) ds += dsums[i];
        const float dropped = dropped_of(f_xs[i], biases[i], kept[v], i, args.scale);
        const float ddropped = BRANCH ? ds * branches[i] : ds;
        dxs[i] = SHORTCUT ? ds * shortcuts[i] : ds;
        df_xs[i] = dropped_of(ddropped, 0.0f, kept[v], i, args.scale);
        dshortcut.add(v, i, ds, xs[i]), dbranch.add(v, i, ds, dropped), dbias.add(v, i, df_xs[i]);
        if (kShortcutNumber) dshortcut_number = fmaf(ds, xs[i], dshortcut_number);
        if (kBranchNumber) dbranch_number = fmaf(ds, dropped, dbranch_number);
      }
      if (DX) {
        Pack<T_X> out;
        out.set(dxs);
        out.store(args.dx, row * D + column);
      }
      if (DF_X) {
        Pack<T_F_X> out;
        out.set(df_xs);
        out.store(args.df_x, row * D + column);
      }
    }
  }

  float* to = args.sums + static_cast<i64>(blockIdx.x) * kSumsRow;
  if constexpr (STAGES > 1) asm volatile("cp.async.wait_all;" ::: "memory");
  constexpr int kColumns = kSums * D;
  if constexpr (kSums > 0) {
    float* shared = reinterpret_cast<float*>(shared_memory);
    float* at = GROUPS > 1 ? shared + group * kColumns : to;
    if (GROUPS > 1) __syncthreads();  // no row is read there any more
    dshortcut.put(at, t), dbranch.put(at, t), dbias.put(at, t);
    dnorm_weight.put(at, t), dnorm_bias.put(at, t);
    if constexpr (GROUPS > 1) {
      __syncthreads();
      if constexpr (D % 4 == 0) {
        add_groups<float4>(to, shared, kColumns);
      } else {
        add_groups<float>(to, shared, kColumns);
      }
    }
    to += kColumns;
  }
  if (kShortcutNumber) write_number(dshortcut_number, to);
  if (kBranchNumber) write_number(dbranch_number, to);
}
)
