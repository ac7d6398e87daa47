// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cpu/lanes.hpp>
#include <evenkeel/kernels/cpu/rows.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
  void clear() { std::memset(values.data(), 0, values.size() * sizeof(float)); }

  std::vector<float> values;
  std::array<float*, kInputs> sums{};  ///< That for each parameter; null where it is not wanted.
};

/// sum += p * q, of whole rows of `width` columns; without q it is sum += p.
template <int N>
EVENKEEL_ALWAYS_INLINE inline void add_products(float* sum,
                                                const float* p,
                                                const float* q,
                                                int64_t width) {
  using L = Lanes<N>;
  PerColumn<L> factor(nullptr, 0, 1.0F);
  if (q != nullptr) factor.each_of(q);
  for (int64_t i = 0; i < width; i += N) L::at(sum + i).v += L::at(p + i).v * factor.at(i).v;
}

/// The sum of p * q over a row.
template <int N>
EVENKEEL_ALWAYS_INLINE inline float sum_of_products(const float* p, const float* q, int64_t width) {
  using L = Lanes<N>;
  typename L::F total = {};
  for (int64_t i = 0; i < width; i += N) total += L::at(p + i).v * L::at(q + i).v;
  return sum_of<N>(total);
}

/// Rows `begin` to `end`, whose sums are added to `totals`, a row of sums. A few rows are summed on
/// their own first: fewer roundings lie on the way of each. What is not wanted is worked out all
/// the same where it stays in the L1 cache: a loop without questions is the faster one.
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
  PerColumn<L> dsum(nullptr, 0, 0.0F);
  RowBuffers buffers(11, dim);
  float* const normed = buffers[6];
  float* const h = buffers[7];
  float* const ds = buffers[9];
  RowOfSums few(form);
  const auto add = [&](Input input, bool to_one_number, const float* p, const float* q) {
    float* const sum = few.sums[input];
    if (sum == nullptr) return;
    if (to_one_number) {
      *sum += Cpu::sum_of_products(p, q, width);
    } else {
      Cpu::add_products(sum, p, q, width);
    }
  };
  const bool has_norm = form.norm != 0 && args.dy != nullptr;
  for (int64_t row = begin; row < end; ++row) {
    in.read(row, buffers);
    // normed = (s - mean) * scale and h, its gradient:
    // ds = scale * (h - p / dim - normed * q / dim), with the sums p of h and q of h * normed
    float p = 0.0F;
    float q = 0.0F;
    float scale = 0.0F;
    if (has_norm) {
      const float* const dy = read_row<Cpu>(args.dy, form.y, row, dim, buffers[8]);
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
        const F weighted = L::at(dy + i).v * weight.at(i).v;
        total_p += weighted;
        total_q += weighted * value;
        L::at(normed + i).v = value;
        L::at(h + i).v = weighted;
      }
      p = form.norm == 1 ? sum_of<N>(total_p) * share : 0.0F;
      q = sum_of<N>(total_q) * share;
      add(kNormWeight, false, dy, normed);
      add(kNormBias, false, dy, nullptr);
    }
    if (args.dsum != nullptr) {
      dsum.each_of(read_row<Cpu>(args.dsum, form.sum, row, dim, buffers[3]));
    }
    float* const dx = begin_row<Cpu>(args.dx, form.x, row, dim, buffers[4]);
    float* const df_x = begin_row<Cpu>(args.df_x, form.f_x, row, dim, buffers[5]);
    for (int64_t i = 0; i < width; i += N) {
      const F gradient = (L::at(h + i).v - p - L::at(normed + i).v * q) * scale + dsum.at(i).v;
      L::at(ds + i).v = gradient;
      L::at(dx + i).v = gradient * in.shortcut.at(i).v;
      L::at(df_x + i).v = gradient * in.branch.at(i).v * in.factors.at(i).v;
    }
    add(kShortcut, form.shortcut_count == 1, ds, in.x);
    add(kBias, false, df_x, nullptr);
    if (form.wants(kBranch)) {
      for (int64_t i = 0; i < width; i += N) {
        F dropped;
        in.dropped(dropped, i);
        L::at(buffers[10] + i).v = dropped;
      }
      add(kBranch, form.branch_count == 1, ds, buffers[10]);
    }
    end_row<Cpu>(args.dx, form.x, row, dim, dx);
    end_row<Cpu>(args.df_x, form.f_x, row, dim, df_x);
    if ((row - begin) % kRowsAtOnce == kRowsAtOnce - 1 || row + 1 == end) {
      Cpu::add_products(totals, few.values.data(), nullptr, few.width());
      few.clear();
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
