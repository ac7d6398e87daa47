// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/cpu_dropout.hpp>
#include <evenkeel/kernels/detail/cpu_lanes.hpp>

#include <cstdint>
#include <cstring>
#include <vector>

namespace evenkeel::detail {

/// Activations as rows in memory; no data where there are none.
struct CpuRows {
  void* data = nullptr;
  uint32_t type = 0;  ///< 0 float, 1 bfloat16, 2 half

  bool exist() const { return data != nullptr; }
};

/// A gain: one value for each column, or one for all.
struct CpuGain {
  const float* columns = nullptr;
  float number = 1.0F;
};

/// A residual as the rows' loops see it. Parameters are float32, and zeros fill the last vector.
struct CpuResidual {
  int64_t dim = 0;
  CpuRows x, f;
  CpuGain a, b;                               ///< Gains of shortcut and branch.
  const float* c = nullptr;                   ///< Bias of f, or null.
  const float *w = nullptr, *beta = nullptr;  ///< The norm's weight and bias, or null.
  CpuDropout dropout;                         ///< Drops nothing where its threshold is 0.
  uint32_t norm = 0;                          ///< 0 none, 1 LayerNorm, 2 RMSNorm
  float eps = 0.0F;
  float* stats = nullptr;  ///< Mean and 1 / deviation of each row, or null.
};

/// Room for rows, zeros at first, each with whole vectors and whole blocks of the dropout.
class RowBuffers {
 public:
  RowBuffers(int64_t rows, int64_t dim)
      : stride_((dim + kDropoutBlock - 1) / kDropoutBlock * kDropoutBlock),
        values_(static_cast<size_t>(rows * stride_)) {}
  float* operator[](int64_t row) { return values_.data() + row * stride_; }

 private:
  int64_t stride_;
  std::vector<float> values_;
};

/// A row in float32: where it lies, if its vectors are whole there, else in `buffer`.
template <typename Cpu>
EVENKEEL_ALWAYS_INLINE inline const float* read_row(const CpuRows& rows,
                                                    int64_t row,
                                                    int64_t dim,
                                                    float* buffer) {
  if (rows.type != 0) {
    Cpu::widen_row(buffer,
                   static_cast<const uint16_t*>(rows.data) + row * dim,
                   dim,
                   rows.type == 1);
    return buffer;
  }
  const float* const from = static_cast<const float*>(rows.data) + row * dim;
  if (dim % Cpu::kLanes == 0) return from;
  std::memcpy(buffer, from, static_cast<size_t>(dim) * sizeof(*from));
  return buffer;
}

/// What forward and backward read of a row; `factors` are the dropout's, null where nothing drops.
struct CpuRow {
  const float *x, *f, *factors;
};

/// Uses the first three buffers.
template <typename Cpu>
EVENKEEL_ALWAYS_INLINE inline CpuRow read_inputs(const CpuResidual& in,
                                                 int64_t row,
                                                 RowBuffers& buffers) {
  const bool drops = in.dropout.threshold != 0;
  if (drops) Cpu::dropout_row(in.dropout, row, in.dim, buffers[2]);
  return {read_row<Cpu>(in.x, row, in.dim, buffers[0]),
          read_row<Cpu>(in.f, row, in.dim, buffers[1]),
          drops ? buffers[2] : nullptr};
}

/// Where to write a row in float32: its own place, if its vectors are whole there, else `buffer`,
/// of which `end_row` makes the row.
template <typename Cpu>
EVENKEEL_ALWAYS_INLINE inline float* begin_row(const CpuRows& rows,
                                               int64_t row,
                                               int64_t dim,
                                               float* buffer) {
  const bool in_place = rows.exist() && rows.type == 0 && dim % Cpu::kLanes == 0;
  return in_place ? static_cast<float*>(rows.data) + row * dim : buffer;
}

template <typename Cpu>
EVENKEEL_ALWAYS_INLINE inline void end_row(const CpuRows& rows,
                                           int64_t row,
                                           int64_t dim,
                                           const float* written) {
  if (!rows.exist()) return;
  if (rows.type != 0) {
    Cpu::narrow_row(static_cast<uint16_t*>(rows.data) + row * dim, written, dim, rows.type == 1);
  } else if (dim % Cpu::kLanes != 0) {
    std::memcpy(static_cast<float*>(rows.data) + row * dim,
                written,
                static_cast<size_t>(dim) * sizeof(*written));
  }
}

template <typename L>
EVENKEEL_ALWAYS_INLINE inline void times_gain(typename L::F& value,
                                              const CpuGain& gain,
                                              int64_t column) {
  if (gain.columns != nullptr) {
    value *= L::at(gain.columns + column).v;
  } else {
    value *= gain.number;
  }
}

/// dropout(f + bias)
template <typename L>
EVENKEEL_ALWAYS_INLINE inline void dropped_of(typename L::F& value,
                                              const CpuResidual& in,
                                              const CpuRow& row,
                                              int64_t column) {
  value = L::at(row.f + column).v;
  if (in.c != nullptr) value += L::at(in.c + column).v;
  if (row.factors != nullptr) value *= L::at(row.factors + column).v;
}

/// shortcut * x + branch * dropped
template <typename L>
EVENKEEL_ALWAYS_INLINE inline void joined_of(typename L::F& sum,
                                             const CpuResidual& in,
                                             const CpuRow& row,
                                             const typename L::F& dropped,
                                             int64_t column) {
  typename L::F branch = dropped;
  times_gain<L>(branch, in.b, column);
  sum = L::at(row.x + column).v;
  times_gain<L>(sum, in.a, column);
  sum += branch;
}

}  // namespace evenkeel::detail
