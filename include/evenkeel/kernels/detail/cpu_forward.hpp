// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/cpu_dropout.hpp>
#include <evenkeel/kernels/detail/cpu_lanes.hpp>
#include <evenkeel/kernels/detail/cpu_rows.hpp>

#include <cmath>
#include <cstdint>

namespace evenkeel::detail {

struct CpuForward {
  CpuResidual in;
  CpuRows y, sum;  ///< The norm and the sum, as far as wanted.
};

/// Rows `begin` to `end`: one pass over memory; what else a row needs is done in the L1 cache.
template <typename Cpu>
EVENKEEL_ALWAYS_INLINE inline void cpu_forward(const CpuForward& call, int64_t begin, int64_t end) {
  constexpr int N = Cpu::kLanes;
  using L = Lanes<N>;
  using F = typename L::F;
  const CpuResidual in = call.in;  // a copy of its own: no store can change it
  const int64_t dim = in.dim;
  const int64_t width = whole<N>(dim);
  const float share = 1.0F / static_cast<float>(dim);
  RowBuffers buffers(5, dim);
  for (int64_t row = begin; row < end; ++row) {
    const CpuRow inputs = read_inputs<Cpu>(in, row, buffers);
    float* sum = begin_row<Cpu>(call.sum, row, dim, buffers[3]);
    F total = {};
    for (int64_t i = 0; i < width; i += N) {
      F value;
      F dropped;
      dropped_of<L>(dropped, in, inputs, i);
      joined_of<L>(value, in, inputs, dropped, i);
      L::at(sum + i).v = value;
      total += in.norm == 1 ? value : value * value;
    }
    end_row<Cpu>(call.sum, row, dim, sum);
    if (in.norm == 0) continue;

    float mean = 0.0F;
    float variance = sum_of<N>(total) * share;
    if (in.norm == 1) {
      // From a first mean, of which the second pass says how far it was off.
      const float near = variance;
      for (int64_t i = dim; i < width; ++i) sum[i] = near;  // adds nothing to what follows
      F distances = {};
      F squares = {};
      for (int64_t i = 0; i < width; i += N) {
        const F distance = L::at(sum + i).v - near;
        distances += distance;
        squares += distance * distance;
      }
      const float off = sum_of<N>(distances) * share;
      mean = near + off;
      variance = sum_of<N>(squares) * share - off * off;
    }
    const float scale = 1.0F / std::sqrt(variance + in.eps);
    if (in.stats != nullptr) {
      in.stats[2 * row] = mean;
      in.stats[2 * row + 1] = scale;
    }
    float* y = begin_row<Cpu>(call.y, row, dim, buffers[4]);
    for (int64_t i = 0; i < width; i += N) {
      F value = (L::at(sum + i).v - mean) * scale;
      if (in.w != nullptr) value *= L::at(in.w + i).v;
      if (in.beta != nullptr) value += L::at(in.beta + i).v;
      L::at(y + i).v = value;
    }
    end_row<Cpu>(call.y, row, dim, y);
  }
}

}  // namespace evenkeel::detail
