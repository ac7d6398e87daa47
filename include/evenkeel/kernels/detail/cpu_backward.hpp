// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/cpu_dropout.hpp>
#include <evenkeel/kernels/detail/cpu_lanes.hpp>
#include <evenkeel/kernels/detail/cpu_rows.hpp>

#include <cstdint>
#include <vector>

namespace evenkeel::detail {

/// Where each of the sums over rows that backward makes begins in a row of `width` floats, whole
/// vectors all; less than 0 where it is not wanted.
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
  if (sum != nullptr) L::at(sum + column).v += p * q;
}

/// Rows `begin` to `end`, whose sums are added to `totals`, a row of sums. A few rows are summed on
/// their own first: fewer roundings lie on the way of each.
template <typename Cpu>
EVENKEEL_ALWAYS_INLINE inline void cpu_backward(const CpuBackward& call,
                                                float* totals,
                                                int64_t begin,
                                                int64_t end) {
  constexpr int N = Cpu::kLanes;
  using L = Lanes<N>;
  using F = typename L::F;
  constexpr int64_t kRowsAtOnce = 8;
  const CpuResidual in = call.in;  // copies of its own: no store can change them
  const int64_t dim = in.dim;
  const int64_t width = whole<N>(dim);
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
  const bool has_norm = in.norm != 0 && call.dy.exist();
  for (int64_t row = begin; row < end; ++row) {
    const CpuRow inputs = read_inputs<Cpu>(in, row, buffers);
    // normed = (s - mean) * scale and h, its gradient:
    // ds = scale * (h - p / dim - normed * q / dim), with the sums p of h and q of h * normed
    float p = 0.0F;
    float q = 0.0F;
    float scale = 0.0F;
    if (has_norm) {
      const float* dy = read_row<Cpu>(call.dy, row, dim, buffers[8]);
      const float mean = in.stats[2 * row];
      scale = in.stats[2 * row + 1];
      F total_p = {};
      F total_q = {};
      for (int64_t i = 0; i < width; i += N) {
        F value;
        F dropped;
        dropped_of<L>(dropped, in, inputs, i);
        joined_of<L>(value, in, inputs, dropped, i);
        value = (value - mean) * scale;
        const F gradient = L::at(dy + i).v;
        add_product<L>(sum_w, i, gradient, value);
        if (sum_beta != nullptr) L::at(sum_beta + i).v += gradient;
        F weighted = gradient;
        if (in.w != nullptr) weighted *= L::at(in.w + i).v;
        total_p += weighted;
        total_q += weighted * value;
        L::at(normed + i).v = value;
        L::at(h + i).v = weighted;
      }
      p = in.norm == 1 ? sum_of<N>(total_p) * share : 0.0F;
      q = sum_of<N>(total_q) * share;
    }
    const float* dsum =
        call.dsum.exist() ? read_row<Cpu>(call.dsum, row, dim, buffers[3]) : nullptr;
    float* dx = begin_row<Cpu>(call.dx, row, dim, buffers[4]);
    float* df = begin_row<Cpu>(call.df, row, dim, buffers[5]);
    F total_a = {};
    F total_b = {};
    for (int64_t i = 0; i < width; i += N) {
      F ds = {};
      if (has_norm) ds = (L::at(h + i).v - p - L::at(normed + i).v * q) * scale;
      if (dsum != nullptr) ds += L::at(dsum + i).v;
      const F shortcut = L::at(inputs.x + i).v;
      add_product<L>(sum_a, i, ds, shortcut);
      total_a += ds * shortcut;
      if (sum_b != nullptr || number_b != nullptr) {
        F dropped;
        dropped_of<L>(dropped, in, inputs, i);
        add_product<L>(sum_b, i, ds, dropped);
        total_b += ds * dropped;
      }
      F branch = ds;
      times_gain<L>(branch, in.b, i);
      if (inputs.factors != nullptr) branch *= L::at(inputs.factors + i).v;
      if (sum_c != nullptr) L::at(sum_c + i).v += branch;
      times_gain<L>(ds, in.a, i);
      L::at(dx + i).v = ds;
      L::at(df + i).v = branch;
    }
    end_row<Cpu>(call.dx, row, dim, dx);
    end_row<Cpu>(call.df, row, dim, df);
    if (number_a != nullptr) *number_a += sum_of<N>(total_a);
    if (number_b != nullptr) *number_b += sum_of<N>(total_b);
    if ((row - begin) % kRowsAtOnce == kRowsAtOnce - 1 || row + 1 == end) {
      for (int64_t i = 0; i < call.sums.width; i += N) {
        L::at(totals + i).v += L::at(few.data() + i).v;
        L::at(few.data() + i).v = F{};
      }
    }
  }
}

/// The sums of so many rows, of `width` columns each, in double; they take the first row's place.
template <int N>
EVENKEEL_ALWAYS_INLINE inline void cpu_column_sums(float* rows, int64_t count, int64_t width) {
  using L = Lanes<N>;
  for (int64_t i = 0; i < width; i += N) {
    typename L::D total = {};
    for (int64_t row = 0; row < count; ++row) {
      typename L::D wide;
      L::widen(wide, L::at(rows + row * width + i).v);
      total += wide;
    }
    L::store(rows + i, total);
  }
}

}  // namespace evenkeel::detail
