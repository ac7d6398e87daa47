// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cpu/dropout.hpp>
#include <evenkeel/kernels/cpu/lanes.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace evenkeel::detail::cpu {

/// Room for rows, zeros at first, each with whole vectors and whole blocks of the dropout.
class RowBuffers {
 public:
  EVENKEEL_NEVER_INLINE RowBuffers(int64_t rows, int64_t dim)
      : stride_((dim + kDropoutBlock - 1) / kDropoutBlock * kDropoutBlock),
        values_(static_cast<size_t>(rows * stride_)) {}
  float* operator[](int64_t row) { return values_.data() + row * stride_; }

 private:
  int64_t stride_;
  std::vector<float> values_;
};

/// A row of a tensor in float32: where it lies, if its vectors are whole there, else in `buffer`.
template <typename Cpu>
EVENKEEL_ALWAYS_INLINE inline const float* read_row(
    const void* rows, uint64_t type, int64_t row, int64_t dim, float* buffer) {
  if (type != 0) {
    Cpu::widen_row(buffer, static_cast<const uint16_t*>(rows) + row * dim, dim, type == 1);
    return buffer;
  }
  const float* const from = static_cast<const float*>(rows) + row * dim;
  if (dim % Cpu::kLanes == 0) return from;
  std::memcpy(buffer, from, static_cast<size_t>(dim) * sizeof(*from));
  return buffer;
}

/// Where to write a row in float32: its own place, if its vectors are whole there, else `buffer`,
/// of which `end_row` makes the row. `rows` is null where it is not wanted.
template <typename Cpu>
EVENKEEL_ALWAYS_INLINE inline float* begin_row(
    void* rows, uint64_t type, int64_t row, int64_t dim, float* buffer) {
  const bool in_place = rows != nullptr && type == 0 && dim % Cpu::kLanes == 0;
  return in_place ? static_cast<float*>(rows) + row * dim : buffer;
}

template <typename Cpu>
EVENKEEL_ALWAYS_INLINE inline void end_row(
    void* rows, uint64_t type, int64_t row, int64_t dim, const float* written) {
  if (rows == nullptr) return;
  if (type != 0) {
    Cpu::narrow_row(static_cast<uint16_t*>(rows) + row * dim, written, dim, type == 1);
  } else if (dim % Cpu::kLanes != 0) {
    std::memcpy(static_cast<float*>(rows) + row * dim,
                written,
                static_cast<size_t>(dim) * sizeof(*written));
  }
}

/// A gain: one number for each column, or one for all.
struct Gain {
  EVENKEEL_ALWAYS_INLINE Gain(const void* parameter, uint64_t count)
      : columns(count == 2 ? static_cast<const float*>(parameter) : nullptr),
        number(count == 1 ? *static_cast<const float*>(parameter) : 1.0F) {}

  const float* columns;
  float number;
};

template <typename L>
EVENKEEL_ALWAYS_INLINE inline void times_gain(typename L::F& value,
                                              const Gain& gain,
                                              int64_t column) {
  if (gain.columns != nullptr) {
    value *= L::at(gain.columns + column).v;
  } else {
    value *= gain.number;
  }
}

/// The sum of a residual, row by row.
template <typename Cpu>
struct SumOfRow {
  using L = Lanes<Cpu::kLanes>;
  using F = typename L::F;

  EVENKEEL_ALWAYS_INLINE SumOfRow(const ResidualForm& form, const ResidualArgs& args)
      : shortcut(args.shortcut, form.shortcut_count),
        branch(args.branch, form.branch_count),
        bias(static_cast<const float*>(args.bias)) {}

  /// Uses the first three buffers.
  EVENKEEL_ALWAYS_INLINE void read(const ResidualForm& form,
                                   const ResidualArgs& args,
                                   int64_t row,
                                   RowBuffers& buffers) {
    const auto dim = static_cast<int64_t>(form.dim);
    x = read_row<Cpu>(args.x, form.x, row, dim, buffers[0]);
    f_x = read_row<Cpu>(args.f_x, form.f_x, row, dim, buffers[1]);
    if (form.drops != 0U) {
      Cpu::dropout_row({args.seed, args.threshold, args.scale}, row, dim, buffers[2]);
      factors = buffers[2];
    }
  }
  /// dropout(f_x + bias)
  EVENKEEL_ALWAYS_INLINE void dropped(F& value, int64_t column) const {
    value = L::at(f_x + column).v;
    if (bias != nullptr) value += L::at(bias + column).v;
    if (factors != nullptr) value *= L::at(factors + column).v;
  }
  /// shortcut * x + branch * dropped
  EVENKEEL_ALWAYS_INLINE void joined(F& sum, const F& dropped, int64_t column) const {
    F of_branch = dropped;
    times_gain<L>(of_branch, branch, column);
    sum = L::at(x + column).v;
    times_gain<L>(sum, shortcut, column);
    sum += of_branch;
  }

  Gain shortcut, branch;
  const float* bias;
  const float *x = nullptr, *f_x = nullptr;
  const float* factors = nullptr;  ///< 0 or the dropout's scale; null where nothing is dropped
};

/// What forward finds out about a row and backward reads. The mean is the sum of two floats: so a
/// row whose elements hardly differ has its exact distances from it.
struct RowStats {
  float mean, rest, scale;
};

}  // namespace evenkeel::detail::cpu
