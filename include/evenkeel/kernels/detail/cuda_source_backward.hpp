// SPDX-License-Identifier: MIT
#pragma once

namespace evenkeel::detail {

/// Last part of the kernels' source: the backward kernel.
/// HAS_DY, HAS_DSUM: gradients that come in; DX, DF, DW, DBETA, DA, DB, DC: those that are wanted.
inline constexpr const char* kBackwardSource = R"cuda(
struct BackwardArgs {
  Joined in;
  const void *dy, *dsum;
  const float2* stats;
  void *dx, *df;
  float* partial;  // for each block a row: columns of w, beta, a, b, c as wanted, then lone numbers
  u32 inputs_stayed;  // x and f are where the forward kernel read them: nothing under way writes them
};

#if BACKWARD
// As if there were more threads: that leaves registers to the blocks of the kernel that sums up, which
// are on the machine before these are done.
extern "C" __global__ void __launch_bounds__(kThreads * 8 / 7, RESIDENT)
    evenkeel_residual_backward(const BackwardArgs args) {
  using RowsX = Rows<T_X, 0>;
  using RowsF = Rows<T_F, RowsX::kEnd>;
  using RowsY = Rows<T_Y, RowsF::kEnd>;
  using RowsSum = Rows<T_SUM, HAS_DY ? RowsY::kEnd : RowsF::kEnd>;
  constexpr int kStage = HAS_DSUM ? RowsSum::kEnd : HAS_DY ? RowsY::kEnd : RowsF::kEnd;
  __shared__ float2 scratch[2][GROUPS * kWarps];
  const Joined& in = args.in;
  u8* ring = reinterpret_cast<u8*>(shared_memory);
  Walk<true> walk(in.rows);  // what came last into the L2 cache is there still
  const int group = walk.group, t = walk.t;
  let_successor_come();
  const auto fetch_inputs = [&](int stage, i64 row) {
    RowsX::fetch(ring + stage * kStage, in.x, row, t);
    RowsF::fetch(ring + stage * kStage, in.f, row, t);
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
  float2 next_stats = make_float2(0.0f, 0.0f);
  if (kNorm && walk.within(0)) next_stats = args.stats[walk.row(0)];
  Columns<T_A, GAIN_A == 2> a;
  Columns<T_B, GAIN_B == 2> b;
  Columns<T_C, HAS_BIAS> c;
  Columns<T_W, HAS_W && kNorm> w;
  const float one_a = GAIN_A == 1 ? one_number<T_A>(in.a) : 1.0f;
  const float one_b = GAIN_B == 1 ? one_number<T_B>(in.b) : 1.0f;
  a.read_if(KEEP, in.a, t), b.read_if(KEEP, in.b, t), c.read_if(KEEP, in.c, t);
  w.read_if(KEEP, in.w, t);
  const u64 seed = DROP ? in.random[0] : 0, offset = DROP ? in.random[1] : 0;
  Sums<DW> dw;
  Sums<DBETA> dbeta;
  Sums<kColumnsA> da;
  Sums<kColumnsB> db;
  Sums<DC> dc;
  dw.clear(), dbeta.clear(), da.clear(), db.clear(), dc.clear();
  float number_a = 0.0f, number_b = 0.0f;

  for (; walk.first < in.rows; walk.first += walk.step) {
    const i64 row = walk.row(0);
    const bool here = walk.within(0);
    Pack<T_X> x[kVectors];
    Pack<T_F> f[kVectors];
    Pack<T_Y> dy[kVectors];
    Pack<T_SUM> dsum[kVectors];
    walk.fetch_ahead(fetch);
    if (STAGES > 1 || here) {
      u8* at = ring + walk.stage * kStage;
      RowsX::take(x, at, in.x, row, t);
      RowsF::take(f, at, in.f, row, t);
      if (HAS_DY) RowsY::take(dy, at, args.dy, row, t);
      if (HAS_DSUM) RowsSum::take(dsum, at, args.dsum, row, t);
    }
    walk.turn_ring();
    a.read_if(!KEEP, in.a, t), b.read_if(!KEEP, in.b, t), c.read_if(!KEEP, in.c, t);
    w.read_if(!KEEP, in.w, t);
    const float mean = next_stats.x, scale = next_stats.y;
    if (kNorm && walk.within(1)) next_stats = args.stats[walk.row(1)];

    // normed = (s - mean) * scale, h = gradient of normed; ds = scale * (h - p / D - normed * q / D)
    float normed[kVectors][VEC], h[kVectors][VEC], p = 0.0f, q = 0.0f;
    u32 kept[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int column = (v * TPR + t) * VEC;
      float xs[VEC], fs[VEC], as[VEC], bs[VEC], cs[VEC], ws[VEC], dys[VEC];
      kept[v] = DROP ? kept_columns(seed, offset, row, column, in.threshold) : 0;
      if (kNorm) {
        x[v].get(xs), f[v].get(fs), dy[v].get(dys);
        a.get(v, as, one_a), b.get(v, bs, one_b), c.get(v, cs, 0.0f), w.get(v, ws, 1.0f);
#pragma unroll
        for (int i = 0; i < VEC; ++i) {
          const float s =
              joined(xs[i], dropped_of(fs[i], cs[i], kept[v], i, in.scale), as[i], bs[i]);
          normed[v][i] = (NORM == 1 ? s - mean : s) * scale;
          h[v][i] = dys[i] * ws[i];
          if (kRagged && column >= D) normed[v][i] = h[v][i] = 0.0f;
          p += h[v][i], q = fmaf(h[v][i], normed[v][i], q);
          if (here && !(kRagged && column >= D)) {
            dw.add(v, i, dys[i], normed[v][i]), dbeta.add(v, i, dys[i]);
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
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int column = (v * TPR + t) * VEC;
      if (kRagged && column >= D) continue;
      float xs[VEC], fs[VEC], as[VEC], bs[VEC], cs[VEC], dsums[VEC], dxs[VEC], dfs[VEC];
      x[v].get(xs), f[v].get(fs);
      a.get(v, as, one_a), b.get(v, bs, one_b), c.get(v, cs, 0.0f);
      if (HAS_DSUM) dsum[v].get(dsums);
#pragma unroll
      for (int i = 0; i < VEC; ++i) {
        float ds = kNorm ? scale * (h[v][i] - fmaf(normed[v][i], q, p)) : 0.0f;
        if (HAS_DSUM) ds += dsums[i];
        const float dropped = dropped_of(fs[i], cs[i], kept[v], i, in.scale);
        const float ddropped = GAIN_B ? ds * bs[i] : ds;
        dxs[i] = GAIN_A ? ds * as[i] : ds;
        dfs[i] = dropped_of(ddropped, 0.0f, kept[v], i, in.scale);
        da.add(v, i, ds, xs[i]), db.add(v, i, ds, dropped), dc.add(v, i, dfs[i]);
        if (kNumberA) number_a = fmaf(ds, xs[i], number_a);
        if (kNumberB) number_b = fmaf(ds, dropped, number_b);
      }
      if (DX) {
        Pack<T_X> out;
        out.set(dxs);
        out.store(args.dx, row * D + column);
      }
      if (DF) {
        Pack<T_F> out;
        out.set(dfs);
        out.store(args.df, row * D + column);
      }
    }
  }

  float* to = args.partial + static_cast<i64>(blockIdx.x) * kPartialRow;
#if STAGES > 1
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
  constexpr int kColumns = kSums * D;
  if constexpr (kSums > 0) {
    float* shared = reinterpret_cast<float*>(shared_memory);
    float* at = GROUPS > 1 ? shared + group * kColumns : to;
    if (GROUPS > 1) __syncthreads();  // no row is read there any more
    dw.put(at, t), dbeta.put(at, t), da.put(at, t), db.put(at, t), dc.put(at, t);
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
  if (kNumberA) write_number(number_a, to);
  if (kNumberB) write_number(number_b, to);
}
#endif
)cuda";

}  // namespace evenkeel::detail
