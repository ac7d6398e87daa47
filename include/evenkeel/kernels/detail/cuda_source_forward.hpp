// SPDX-License-Identifier: MIT
#pragma once

namespace evenkeel::detail {

/// Third part of the kernels' source: the forward kernel. KEEP says whether parameters stay in
/// registers from row to row.
inline constexpr const char* kForwardSource = R"cuda(
struct Joined {  // what forward and backward read; ForwardArgs and BackwardArgs in C++ begin alike
  const void *x, *f, *w, *beta, *a, *b, *c;
  i64 rows;
  u64 seed, offset, offset_in_graph;  // the first two are addresses when captured
  u64* random;                        // seed and offset as used: written forward, read backward
  u32 captured, threshold;
  float scale, eps;
};

INLINE float joined(float x, float dropped, float a, float b) {
  const float f = GAIN_B ? dropped * b : dropped;
  return GAIN_A ? fmaf(a, x, f) : x + f;
}

INLINE float dropped_of(float f, float c, u32 kept, int i, float scale) {
  const float biased = HAS_BIAS ? f + c : f;
  if (!DROP) return biased;
  return (kept >> i) & 1u ? biased * scale : 0.0f;
}

struct ForwardArgs {
  Joined in;
  void *y, *sum;
  float2* stats;  // mean and 1 / deviation of each row; may be null
};

#if FORWARD
extern "C" __global__ void __launch_bounds__(kThreads, RESIDENT)
    evenkeel_residual_forward(const ForwardArgs args) {
  using RowsX = Rows<T_X, 0>;
  using RowsF = Rows<T_F, RowsX::kEnd>;
  __shared__ float2 scratch[2][GROUPS * kWarps];
  const Joined& in = args.in;
  u8* ring = reinterpret_cast<u8*>(shared_memory);
  Walk<false> walk(in.rows);
  const int group = walk.group, t = walk.t;
  wait_for_predecessor();
  let_successor_come();  // who reads x and f before it waits finds them whole
  const auto fetch = [&](int stage, i64 row) {
    RowsX::fetch(ring + stage * RowsF::kEnd, in.x, row, t);
    RowsF::fetch(ring + stage * RowsF::kEnd, in.f, row, t);
  };
  walk.start(fetch);
  Columns<T_A, GAIN_A == 2> a;
  Columns<T_B, GAIN_B == 2> b;
  Columns<T_C, HAS_BIAS> c;
  Columns<T_W, HAS_W> w;
  Columns<T_W, HAS_BETA> beta;
  const float one_a = GAIN_A == 1 ? one_number<T_A>(in.a) : 1.0f;
  const float one_b = GAIN_B == 1 ? one_number<T_B>(in.b) : 1.0f;
  a.read_if(KEEP, in.a, t), b.read_if(KEEP, in.b, t), c.read_if(KEEP, in.c, t);
  w.read_if(KEEP, in.w, t), beta.read_if(KEEP, in.beta, t);
  u64 seed = in.seed, offset = in.offset;
  if (DROP && in.captured) {
    seed = *reinterpret_cast<const u64*>(seed);
    offset = *reinterpret_cast<const u64*>(offset) + in.offset_in_graph;
  }
  if (DROP && in.random != nullptr && blockIdx.x == 0 && threadIdx.x == 0) {
    in.random[0] = seed, in.random[1] = offset;
  }

  for (; walk.first < in.rows; walk.first += walk.step) {
    const i64 row = walk.row(0);
    const bool here = walk.within(0);
    Pack<T_X> x[kVectors];
    Pack<T_F> f[kVectors];
    walk.fetch_ahead(fetch);
    if (STAGES > 1 || here) {
      RowsX::take(x, ring + walk.stage * RowsF::kEnd, in.x, row, t);
      RowsF::take(f, ring + walk.stage * RowsF::kEnd, in.f, row, t);
    }
    walk.turn_ring();
    a.read_if(!KEEP, in.a, t), b.read_if(!KEEP, in.b, t), c.read_if(!KEEP, in.c, t);

    float s[kVectors][VEC], mean = 0.0f, squares = 0.0f;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int column = (v * TPR + t) * VEC;
      float xs[VEC], fs[VEC], as[VEC], bs[VEC], cs[VEC];
      x[v].get(xs), f[v].get(fs);
      a.get(v, as, one_a), b.get(v, bs, one_b), c.get(v, cs, 0.0f);
      const u32 kept = DROP ? kept_columns(seed, offset, row, column, in.threshold) : 0;
#pragma unroll
      for (int i = 0; i < VEC; ++i) {
        s[v][i] = joined(xs[i], dropped_of(fs[i], cs[i], kept, i, in.scale), as[i], bs[i]);
        if (kRagged && column >= D) s[v][i] = 0.0f;
        mean += s[v][i];
        if (NORM == 2) squares = fmaf(s[v][i], s[v][i], squares);
      }
    }
    if (NORM == 1 && kRagged) {
      float unused = 0.0f;
      sum_over_row(mean, unused, scratch[walk.turn], group, t);
      walk.turn ^= 1, mean *= 1.0f / D;
    } else if (NORM == 1) {
      mean *= 1.0f / (kVectors * VEC);
    }
    if (NORM == 1) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        if (kRagged && (v * TPR + t) * VEC >= D) continue;
#pragma unroll
        for (int i = 0; i < VEC; ++i) {
          squares = fmaf(s[v][i] - mean, s[v][i] - mean, squares);
        }
      }
    }
    if (NORM == 1 && !kRagged) {
      moments_over_row(mean, squares, scratch[walk.turn], group, t);
    } else if (NORM != 0) {
      float unused = 0.0f;
      sum_over_row(squares, unused, scratch[walk.turn], group, t);
    }
    walk.turn ^= 1;
    if (NORM != 1) mean = 0.0f;
    const float scale = NORM == 0 ? 1.0f : rsqrtf(fmaf(squares, 1.0f / D, in.eps));
    if (!here) continue;
    w.read_if(!KEEP, in.w, t), beta.read_if(!KEEP, in.beta, t);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int column = (v * TPR + t) * VEC;
      if (kRagged && column >= D) continue;
      if (HAS_SUM) {
        Pack<T_SUM> sums;
        sums.set(s[v]);
        sums.store(args.sum, row * D + column);
      }
      if (NORM != 0) {
        float ws[VEC], betas[VEC];
        w.get(v, ws, 1.0f), beta.get(v, betas, 0.0f);
#pragma unroll
        for (int i = 0; i < VEC; ++i) {
          const float normed = (s[v][i] - mean) * scale;
          s[v][i] = HAS_BETA ? fmaf(normed, ws[i], betas[i]) : normed * ws[i];
        }
        Pack<T_Y> ys;
        ys.set(s[v]);
        ys.store(args.y, row * D + column);
      }
    }
    if (NORM != 0 && args.stats != nullptr && t == 0) args.stats[row] = make_float2(mean, scale);
  }
}
#endif
)cuda";

}  // namespace evenkeel::detail
