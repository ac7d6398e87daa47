// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/cpu_dropout.hpp>
#include <evenkeel/kernels/detail/cpu_lanes.hpp>
#include <evenkeel/kernels/detail/cpu_rows.hpp>

#include <cstdint>
#include <vector>

namespace evenkeel::detail {

/// Where each of the sums over rows that backward makes begins in a row of `width` floats; less
/// than 0 where it is not wanted.
struct CpuSums {
  int64_t w = -1, beta = -1, a = -1, b = -1, c = -1;
  int64_t number_a = -1, number_b = -1;  ///< of one column
  int64_t width = 0;
};

struct CpuBackward {
  CpuResidual in;
  CpuRows dy, dsum;  ///< Gradients that come in; those of the norm and of the sum.
  CpuRows dx, df;    ///< Gradients that are wanted.
  CpuSums sums;      ///< Sums that are wanted.
};

template <typename L>
EVENKEEL_ALWAYS_INLINE inline void add_product(float* sum,
                                               int64_t column,
                                               const typename L::F& p,
                                               const typename L::F& q) {
  if (sum != nullptr) L::at(sum + column) += p * q;
}

/// Rows `begin` to `end`, whose sums are added to `totals`, a row of sums. A few rows are summed on
/// their own first: fewer roundings lie on the way of each.
template <int N>
EVENKEEL_ALWAYS_INLINE inline void cpu_backward(const CpuBackward& call,
                                                float* totals,
                                                int64_t begin,
                                                int64_t end) {
  constexpr int64_t kRowsAtOnce = 8;
  const CpuResidual in = call.in;  // copies of its own: no store can change them
  const int64_t dim = in.dim;
  const float share = 1.0F / static_cast<float>(dim);
  RowBuffers buffers(9, dim);
  std::vector<float> few(static_cast<size_t>(call.sums.width));
  const auto place = [&](int64_t offset) { return offset < 0 ? nullptr : few.data() + offset; };
  float* const sum_w = place(call.sums.w);
  float* const sum_beta = place(call.sums.beta);
  float* const sum_a = place(call.sums.a);
  float* const sum_b = place(call.sums.b);
  float* const sum_c = place(call.sums.c);
  float* const number_a = place(call.sums.number_a);
  float* const number_b = place(call.sums.number_b);
  float* const normed = buffers[6];
  float* const h = buffers[7];
  const bool wants_x = call.dx.exist();
  const bool wants_f = call.df.exist();
  const bool has_norm = in.norm != 0 && call.dy.exist();
  for (int64_t row = begin; row < end; ++row) {
    const CpuRow inputs = read_inputs<N>(in, row, buffers);
    // normed = (s - mean) * scale and h, its gradient:
    // ds = scale * (h - p / dim - normed * q / dim), with the sums p of h and q of h * normed
    float p = 0.0F;
    float q = 0.0F;
    float scale = 0.0F;
    if (has_norm) {
      const float* dy = read_row<N>(call.dy, row, dim, buffers[8]);
      const float mean = in.stats[2 * row];
      scale = in.stats[2 * row + 1];
      RowTotal<N> total_p;
      RowTotal<N> total_q;
      for_columns<N>(dim, [&](auto lanes, int64_t i) EVENKEEL_ALWAYS_INLINE {
        using L = decltype(lanes);
        typename L::F value;
        typename L::F dropped;
        dropped_of<L>(dropped, in, inputs, i);
        joined_of<L>(value, in, inputs, dropped, i);
        value = (value - mean) * scale;
        const typename L::F gradient = L::at(dy + i);
        add_product<L>(sum_w, i, gradient, value);
        if (sum_beta != nullptr) L::at(sum_beta + i) += gradient;
        typename L::F weighted = gradient;
        if (in.w != nullptr) weighted *= L::at(in.w + i);
        total_p.add(lanes, weighted);
        total_q.add(lanes, weighted * value);
        L::at(normed + i) = value;
        L::at(h + i) = weighted;
      });
      p = in.norm == 1 ? total_p.value() * share : 0.0F;
      q = total_q.value() * share;
    }
    const float* dsum = call.dsum.exist() ? read_row<N>(call.dsum, row, dim, buffers[3]) : nullptr;
    float* dx = begin_row(call.dx, row, dim, buffers[4]);
    float* df = begin_row(call.df, row, dim, buffers[5]);
    RowTotal<N> total_a;
    RowTotal<N> total_b;
    for_columns<N>(dim, [&](auto lanes, int64_t i) EVENKEEL_ALWAYS_INLINE {
      using L = decltype(lanes);
      typename L::F ds = {};
      if (has_norm) ds = (L::at(h + i) - p - L::at(normed + i) * q) * scale;
      if (dsum != nullptr) ds += L::at(dsum + i);
      const typename L::F shortcut = L::at(inputs.x + i);
      add_product<L>(sum_a, i, ds, shortcut);
      if (number_a != nullptr) total_a.add(lanes, ds * shortcut);
      if (sum_b != nullptr || number_b != nullptr) {
        typename L::F dropped;
        dropped_of<L>(dropped, in, inputs, i);
        add_product<L>(sum_b, i, ds, dropped);
        if (number_b != nullptr) total_b.add(lanes, ds * dropped);
      }
      typename L::F branch = ds;
      times_gain<L>(branch, in.b, i);
      if (inputs.factors != nullptr) branch *= L::at(inputs.factors + i);
      if (sum_c != nullptr) L::at(sum_c + i) += branch;
      times_gain<L>(ds, in.a, i);
      if (wants_x) L::at(dx + i) = ds;
      if (wants_f) L::at(df + i) = branch;
    });
    end_row<N>(call.dx, row, dim, dx);
    end_row<N>(call.df, row, dim, df);
    if (number_a != nullptr) *number_a += total_a.value();
    if (number_b != nullptr) *number_b += total_b.value();
    if ((row - begin) % kRowsAtOnce == kRowsAtOnce - 1 || row + 1 == end) {
      for_columns<N>(call.sums.width, [&](auto lanes, int64_t i) EVENKEEL_ALWAYS_INLINE {
        using L = decltype(lanes);
        L::at(totals + i) += L::at(few.data() + i);
        L::at(few.data() + i) = typename L::F{};
      });
    }
  }
}

/// The sums of so many rows, `stride` apart, each of `columns`; in double.
template <int N>
EVENKEEL_ALWAYS_INLINE inline void cpu_column_sums(
    const float* rows, int64_t count, int64_t stride, int64_t columns, float* sums) {
  for_columns<N>(columns, [&](auto lanes, int64_t i) EVENKEEL_ALWAYS_INLINE {
    using L = decltype(lanes);
    typename L::D total = {};
    for (int64_t row = 0; row < count; ++row) {
      typename L::D wide;
      L::widen(wide, typename L::F(L::at(rows + row * stride + i)));
      total += wide;
    }
    L::store(sums + i, total);
  });
}

}  // namespace evenkeel::detail
