// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cpu/lanes.hpp>
#include <evenkeel/kernels/cpu/rows.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace evenkeel::detail::cpu {

/// Mean and 1 / deviation of a row of float32. The variance is that of the distances from a number
/// near the mean; where the mean turns out to be off by more than they are spread, they are taken
/// again from a better one. So nothing cancels, however far from zero the row lies.
template <typename L>
EVENKEEL_ALWAYS_INLINE inline void layer_norm_stats(
    RowStats& stats, float* values, int64_t dim, int64_t width, float mean, float eps) {
  constexpr int N = L::kLanes;
  const float share = 1.0F / static_cast<float>(dim);
  float variance = 0.0F;
  float off = 0.0F;
  for (int turn = 0; turn < 3; ++turn) {
    mean += off;
    for (int64_t i = dim; i < width; ++i) values[i] = mean;  // adds nothing to what follows
    typename L::F distances = {};
    typename L::F squares = {};
    for (int64_t i = 0; i < width; i += N) {
      const typename L::F distance = L::at(values + i).v - mean;
      distances += distance;
      squares += distance * distance;
    }
    off = sum_of<N>(distances) * share;
    variance = sum_of<N>(squares) * share;
    if (!(off * off > 0.5F * variance)) break;
  }
  variance = std::max(variance - off * off, 0.0F);  // in this order, a NaN stays one
  stats = {mean, off, 1.0F / std::sqrt(variance + eps)};
}

/// Rows `begin` to `end`: one pass over memory; what else a row needs is done in the L1 cache.
template <typename Cpu>
EVENKEEL_ALWAYS_INLINE inline void forward_rows(const ResidualForm& form_,
                                                const ResidualArgs& args_,
                                                int64_t begin,
                                                int64_t end) {
  constexpr int N = Cpu::kLanes;
  using L = Lanes<N>;
  using F = typename L::F;
  const ResidualForm form = form_;  // copies of their own: no store can change them
  const ResidualArgs args = args_;
  const auto dim = static_cast<int64_t>(form.dim);
  const int64_t width = whole<N>(dim);
  const float share = 1.0F / static_cast<float>(dim);
  const auto* const weight = static_cast<const float*>(args.norm_weight);
  const auto* const bias = static_cast<const float*>(args.norm_bias);
  const bool centred = form.norm == 1;
  SumOfRow<Cpu> in(form, args);
  RowBuffers buffers(5, dim);
  for (int64_t row = begin; row < end; ++row) {
    in.read(form, args, row, buffers);
    float* sum = begin_row<Cpu>(args.sum, form.sum, row, dim, buffers[3]);
    F total = {};
    for (int64_t i = 0; i < width; i += N) {
      F value;
      F dropped;
      in.dropped(dropped, i);
      in.joined(value, dropped, i);
      L::at(sum + i).v = value;
      total += centred ? value : value * value;
    }
    end_row<Cpu>(args.sum, form.sum, row, dim, sum);
    if (form.norm == 0) continue;

    const float mean = sum_of<N>(total) * share;  // of the squares in an RMSNorm
    RowStats stats{};
    if (centred) {
      layer_norm_stats<L>(stats, sum, dim, width, mean, args.eps);
    } else {
      stats.scale = 1.0F / std::sqrt(mean + args.eps);
    }
    if (args.stats != nullptr) reinterpret_cast<RowStats*>(args.stats)[row] = stats;
    const float shift = -stats.rest * stats.scale;
    float* y = begin_row<Cpu>(args.y, form.y, row, dim, buffers[4]);
    for (int64_t i = 0; i < width; i += N) {
      F value = (L::at(sum + i).v - stats.mean) * stats.scale + shift;
      if (weight != nullptr) value *= L::at(weight + i).v;
      if (bias != nullptr) value += L::at(bias + i).v;
      L::at(y + i).v = value;
    }
    end_row<Cpu>(args.y, form.y, row, dim, y);
  }
}

}  // namespace evenkeel::detail::cpu
