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
EVENKEEL_NEVER_INLINE const float* read_row(
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
EVENKEEL_NEVER_INLINE float* begin_row(
    void* rows, uint64_t type, int64_t row, int64_t dim, float* buffer) {
  const bool in_place = rows != nullptr && type == 0 && dim % Cpu::kLanes == 0;
  return in_place ? static_cast<float*>(rows) + row * dim : buffer;
}

template <typename Cpu>
EVENKEEL_NEVER_INLINE void end_row(
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

/// A number for each column, or the same for all: loops over columns need not ask which.
template <typename L>
struct PerColumn {
  /// `count`: 0 where there is no such parameter, which then is `otherwise`; 1 where it is one
  /// number for all, 2 where it is one for each column.
  EVENKEEL_ALWAYS_INLINE PerColumn(const void* parameter, uint64_t count, float otherwise) {
    const auto* const numbers = static_cast<const float*>(parameter);
    const float number = count == 1 ? *numbers : otherwise;
    for (float& each : same) each = number;
    if (count == 2) each_of(numbers);
  }
  PerColumn(const PerColumn&) = delete;
  PerColumn& operator=(const PerColumn&) = delete;

  EVENKEEL_ALWAYS_INLINE void each_of(const float* numbers) {
    values = numbers;
    mask = -1;
  }
  EVENKEEL_ALWAYS_INLINE const typename L::LooseF& at(int64_t column) const {
    return L::at(values + (column & mask));
  }

  float same[L::kLanes];
  const float* values = same;
  int64_t mask = 0;
};

/// The sum of a residual, row by row.
template <typename Cpu>
struct SumOfRow {
  using L = Lanes<Cpu::kLanes>;
  using F = typename L::F;

  EVENKEEL_ALWAYS_INLINE SumOfRow(const ResidualForm& form_, const ResidualArgs& args_)
      : form(form_),
        args(args_),
        shortcut(args.shortcut, form.shortcut_count, 1.0F),
        branch(args.branch, form.branch_count, 1.0F),
        bias(args.bias, 2 * form.has_bias, 0.0F),
        factors(nullptr, 0, 1.0F) {}

  /// Uses the first three buffers.
  EVENKEEL_ALWAYS_INLINE void read(int64_t row, RowBuffers& buffers) {
    const auto dim = static_cast<int64_t>(form.dim);
    x = read_row<Cpu>(args.x, form.x, row, dim, buffers[0]);
    f_x = read_row<Cpu>(args.f_x, form.f_x, row, dim, buffers[1]);
    if (form.drops != 0U) {
      Cpu::dropout_row({args.seed, args.threshold, args.scale}, row, dim, buffers[2]);
      factors.each_of(buffers[2]);
    }
  }
  /// dropout(f_x + bias)
  EVENKEEL_ALWAYS_INLINE void dropped(F& value, int64_t column) const {
    value = (L::at(f_x + column).v + bias.at(column).v) * factors.at(column).v;
  }
  /// shortcut * x + branch * dropped
  EVENKEEL_ALWAYS_INLINE void joined(F& sum, const F& dropped, int64_t column) const {
    sum = L::at(x + column).v * shortcut.at(column).v + dropped * branch.at(column).v;
  }

  const ResidualForm form;  // copies of their own: no store can change them
  const ResidualArgs args;
  PerColumn<L> shortcut, branch, bias;
  PerColumn<L> factors;  ///< 0 or the dropout's scale
  const float *x = nullptr, *f_x = nullptr;
};

/// What forward finds out about a row and backward reads. The mean is the sum of two floats: so a
/// row whose elements hardly differ has its exact distances from it.
struct RowStats {
  float mean, rest, scale;
};

}  // namespace evenkeel::detail::cpu
