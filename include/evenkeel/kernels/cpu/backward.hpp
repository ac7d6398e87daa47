// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cpu/lanes.hpp>
#include <evenkeel/kernels/cpu/rows.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace evenkeel::detail::cpu {

/// Where the sum for parameter `input` begins in a row of sums: whole vectors each, in the order of
/// `Input`. For `kInputs` it is the length of the row.
inline int64_t sum_offset(const ResidualForm& form, int input) {
  int64_t offset = 0;
  for (int i = kShortcut; i < input; ++i) {
    if (form.wants(i)) offset += whole<kMostLanes>(form.count(i));
  }
  return offset;
}

template <typename L>
EVENKEEL_ALWAYS_INLINE inline void add_to(float* sum, int64_t column, const typename L::F& value) {
  if (sum != nullptr) L::at(sum + column).v += value;
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
  SumOfRow<Cpu> in(form_, args_);
  const ResidualForm& form = in.form;
  const ResidualArgs& args = in.args;
  const auto dim = static_cast<int64_t>(form.dim);
  const int64_t width = whole<N>(dim);
  const float share = 1.0F / static_cast<float>(dim);
  const PerColumn<L> weight(args.norm_weight, 2 * form.has_norm_weight, 1.0F);
  const int64_t sums_width = sum_offset(form, kInputs);
  RowBuffers buffers(9, dim);
  std::vector<float> few(static_cast<size_t>(sums_width));
  const auto sum_of_input = [&](int input, bool want) {
    return want && form.wants(input) ? few.data() + sum_offset(form, input) : nullptr;
  };
  float* const dshortcut = sum_of_input(kShortcut, form.shortcut_count == 2);
  float* const dshortcut_number = sum_of_input(kShortcut, form.shortcut_count == 1);
  float* const dbranch = sum_of_input(kBranch, form.branch_count == 2);
  float* const dbranch_number = sum_of_input(kBranch, form.branch_count == 1);
  float* const dbias = sum_of_input(kBias, true);
  float* const dnorm_weight = sum_of_input(kNormWeight, true);
  float* const dnorm_bias = sum_of_input(kNormBias, true);
  float* const normed = buffers[6];
  float* const h = buffers[7];
  const bool has_norm = form.norm != 0 && args.dy != nullptr;
  for (int64_t row = begin; row < end; ++row) {
    in.read(row, buffers);
    // normed = (s - mean) * scale and h, its gradient:
    // ds = scale * (h - p / dim - normed * q / dim), with the sums p of h and q of h * normed
    float p = 0.0F;
    float q = 0.0F;
    float scale = 0.0F;
    if (has_norm) {
      const float* dy = read_row<Cpu>(args.dy, form.y, row, dim, buffers[8]);
      const RowStats stats = reinterpret_cast<const RowStats*>(args.stats)[row];
      scale = stats.scale;
      F total_p = {};
      F total_q = {};
      for (int64_t i = 0; i < width; i += N) {
        F value;
        F dropped;
        in.dropped(dropped, i);
        in.joined(value, dropped, i);
        value = ((value - stats.mean) - stats.rest) * scale;
        const F gradient = L::at(dy + i).v;
        add_to<L>(dnorm_weight, i, gradient * value);
        add_to<L>(dnorm_bias, i, gradient);
        const F weighted = gradient * weight.at(i).v;
        total_p += weighted;
        total_q += weighted * value;
        L::at(normed + i).v = value;
        L::at(h + i).v = weighted;
      }
      p = form.norm == 1 ? sum_of<N>(total_p) * share : 0.0F;
      q = sum_of<N>(total_q) * share;
    }
    const float* dsum =
        args.dsum != nullptr ? read_row<Cpu>(args.dsum, form.sum, row, dim, buffers[3]) : nullptr;
    float* dx = begin_row<Cpu>(args.dx, form.x, row, dim, buffers[4]);
    float* df_x = begin_row<Cpu>(args.df_x, form.f_x, row, dim, buffers[5]);
    F total_shortcut = {};
    F total_branch = {};
    for (int64_t i = 0; i < width; i += N) {
      F ds = {};
      if (has_norm) ds = (L::at(h + i).v - p - L::at(normed + i).v * q) * scale;
      if (dsum != nullptr) ds += L::at(dsum + i).v;
      const F product = ds * L::at(in.x + i).v;
      add_to<L>(dshortcut, i, product);
      total_shortcut += product;
      if (dbranch != nullptr || dbranch_number != nullptr) {
        F dropped;
        in.dropped(dropped, i);
        dropped *= ds;
        add_to<L>(dbranch, i, dropped);
        total_branch += dropped;
      }
      const F branch = ds * in.branch.at(i).v * in.factors.at(i).v;
      add_to<L>(dbias, i, branch);
      L::at(dx + i).v = ds * in.shortcut.at(i).v;
      if (args.df_x != nullptr) L::at(df_x + i).v = branch;
    }
    end_row<Cpu>(args.dx, form.x, row, dim, dx);
    end_row<Cpu>(args.df_x, form.f_x, row, dim, df_x);
    if (dshortcut_number != nullptr) *dshortcut_number += sum_of<N>(total_shortcut);
    if (dbranch_number != nullptr) *dbranch_number += sum_of<N>(total_branch);
    if ((row - begin) % kRowsAtOnce == kRowsAtOnce - 1 || row + 1 == end) {
      for (int64_t i = 0; i < sums_width; i += N) {
        L::at(totals + i).v += L::at(few.data() + i).v;
        L::at(few.data() + i).v = F{};
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
