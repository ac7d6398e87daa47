// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cpu/lanes.hpp>
#include <evenkeel/kernels/cpu/rows.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace evenkeel::detail::cpu {

/// Where the sum for parameter `input` begins in a row of sums: whole vectors each, in the order of
/// `Input`. For `kInputs` it is the length of the row.
EVENKEEL_NEVER_INLINE inline int64_t sum_offset(const ResidualForm& form, int input) {
  int64_t offset = 0;
  for (int i = kShortcut; i < input; ++i) {
    if (form.wants(i)) offset += whole<kMostLanes>(form.count(i));
  }
  return offset;
}

/// A row of sums, zeros at first.
struct RowOfSums {
  EVENKEEL_NEVER_INLINE explicit RowOfSums(const ResidualForm& form)
      : values(static_cast<size_t>(sum_offset(form, kInputs))) {
    for (int i = kShortcut; i < kInputs; ++i) {
      if (form.wants(i)) sums[static_cast<size_t>(i)] = values.data() + sum_offset(form, i);
    }
  }
  int64_t width() const { return static_cast<int64_t>(values.size()); }

  std::vector<float> values;
  std::array<float*, kInputs> sums{};  ///< That for each parameter; null where it is not wanted.
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
EVENKEEL_ALWAYS_INLINE inline void backward_rows(const ResidualForm& form_,
                                                 const ResidualArgs& args_,
                                                 float* totals,
                                                 int64_t begin,
                                                 int64_t end) {
  constexpr int N = Cpu::kLanes;
  using L = Lanes<N>;
  using F = typename L::F;
  constexpr int64_t kRowsAtOnce = 8;
  const ResidualForm form = form_;  // copies of their own: no store can change them
  const ResidualArgs args = args_;
  const auto dim = static_cast<int64_t>(form.dim);
  const int64_t width = whole<N>(dim);
  const float share = 1.0F / static_cast<float>(dim);
  const auto* const weight = static_cast<const float*>(args.norm_weight);
  SumOfRow<Cpu> in(form, args);
  RowBuffers buffers(9, dim);
  float* const normed = buffers[6];
  float* const h = buffers[7];
  RowOfSums few(form);
  float* const dnorm_weight = few.sums[kNormWeight];
  float* const dnorm_bias = few.sums[kNormBias];
  float* const dbias = few.sums[kBias];
  // A gain that is one number is the sum over the columns as well.
  float* const dshortcut = form.shortcut_count == 2 ? few.sums[kShortcut] : nullptr;
  float* const dbranch = form.branch_count == 2 ? few.sums[kBranch] : nullptr;
  float* const dshortcut_number = form.shortcut_count == 1 ? few.sums[kShortcut] : nullptr;
  float* const dbranch_number = form.branch_count == 1 ? few.sums[kBranch] : nullptr;
  const bool has_norm = form.norm != 0 && args.dy != nullptr;
  for (int64_t row = begin; row < end; ++row) {
    in.read(form, args, row, buffers);
    // normed = (s - mean) * scale and h, its gradient:
    // ds = scale * (h - p / dim - normed * q / dim), with the sums p of h and q of h * normed
    float p = 0.0F;
    float q = 0.0F;
    float scale = 0.0F;
    if (has_norm) {
      const float* const dy = read_row<Cpu>(args.dy, form.y, row, dim, buffers[8]);
      const RowStats stats = reinterpret_cast<const RowStats*>(args.stats)[row];
      scale = stats.scale;
      const float shift = -stats.rest * scale;
      F total_p = {};
      F total_q = {};
      for (int64_t i = 0; i < width; i += N) {
        F value;
        F dropped;
        in.dropped(dropped, i);
        in.joined(value, dropped, i);
        value = (value - stats.mean) * scale + shift;
        const F gradient = L::at(dy + i).v;
        add_product<L>(dnorm_weight, i, gradient, value);
        if (dnorm_bias != nullptr) L::at(dnorm_bias + i).v += gradient;
        F weighted = gradient;
        if (weight != nullptr) weighted *= L::at(weight + i).v;
        total_p += weighted;
        total_q += weighted * value;
        L::at(normed + i).v = value;
        L::at(h + i).v = weighted;
      }
      p = form.norm == 1 ? sum_of<N>(total_p) * share : 0.0F;
      q = sum_of<N>(total_q) * share;
    }
    const float* const dsum =
        args.dsum != nullptr ? read_row<Cpu>(args.dsum, form.sum, row, dim, buffers[3]) : nullptr;
    float* const dx = begin_row<Cpu>(args.dx, form.x, row, dim, buffers[4]);
    float* const df_x = begin_row<Cpu>(args.df_x, form.f_x, row, dim, buffers[5]);
    F total_shortcut = {};
    F total_branch = {};
    for (int64_t i = 0; i < width; i += N) {
      F ds = {};
      if (has_norm) ds = (L::at(h + i).v - p - L::at(normed + i).v * q) * scale;
      if (dsum != nullptr) ds += L::at(dsum + i).v;
      const F x = L::at(in.x + i).v;
      add_product<L>(dshortcut, i, ds, x);
      total_shortcut += ds * x;
      if (dbranch != nullptr || dbranch_number != nullptr) {
        F dropped;
        in.dropped(dropped, i);
        add_product<L>(dbranch, i, ds, dropped);
        total_branch += ds * dropped;
      }
      F branch = ds;
      times_gain<L>(branch, in.branch, i);
      if (in.factors != nullptr) branch *= L::at(in.factors + i).v;
      if (dbias != nullptr) L::at(dbias + i).v += branch;
      L::at(df_x + i).v = branch;
      times_gain<L>(ds, in.shortcut, i);
      L::at(dx + i).v = ds;
    }
    end_row<Cpu>(args.dx, form.x, row, dim, dx);
    end_row<Cpu>(args.df_x, form.f_x, row, dim, df_x);
    if (dshortcut_number != nullptr) *dshortcut_number += sum_of<N>(total_shortcut);
    if (dbranch_number != nullptr) *dbranch_number += sum_of<N>(total_branch);
    if ((row - begin) % kRowsAtOnce == kRowsAtOnce - 1 || row + 1 == end) {
      for (int64_t i = 0; i < few.width(); i += N) {
        L::at(totals + i).v += L::at(few.values.data() + i).v;
        L::at(few.values.data() + i).v = F{};
      }
    }
  }
}

/// The sums of so many rows, of `width` columns each, in double; they take the first row's place.
template <int N>
EVENKEEL_ALWAYS_INLINE inline void column_sums(float* rows, int64_t count, int64_t width) {
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

}  // namespace evenkeel::detail::cpu
