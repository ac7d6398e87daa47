// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstring>

namespace evenkeel::detail {

/// The inputs of a residual, in the order in which their gradients are listed.
enum Input : int { kX, kFX, kShortcut, kBranch, kBias, kNormWeight, kNormBias };
constexpr int kInputs = 7;

/// What kind of residual it is, in one number: what a kernel is compiled for.
/// Types: 0 float32, 1 bfloat16, 2 half.
struct ResidualForm {
  uint64_t dim : 15;
  uint64_t x : 2, f_x : 2, shortcut : 2, branch : 2, bias : 2, norm_parameters : 2;  ///< types
  uint64_t y : 2, sum : 2;                                                           ///< types
  uint64_t norm : 2;                              ///< 0 none, 1 LayerNorm, 2 RMSNorm
  uint64_t shortcut_count : 2, branch_count : 2;  ///< 0 none, 1 one number, 2 one for each column
  uint64_t has_bias : 1, has_norm_weight : 1, has_norm_bias : 1, drops : 1;
  uint64_t has_sum : 1;  ///< forward: is the sum an output?
  uint64_t backward : 1;
  uint64_t has_dy : 1, has_dsum : 1;  ///< backward: gradients that come in
  uint64_t wanted : 7;                ///< backward: bit i says whether that of input i is wanted
  uint64_t device : 7;                ///< of CUDA

  ResidualForm() { std::memset(static_cast<void*>(this), 0, sizeof(*this)); }

  bool wants(int input) const { return ((wanted >> input) & 1U) != 0U; }
  void want(int input) { wanted |= uint64_t{1} << input; }
  void do_not_want(int input) { wanted &= ~(uint64_t{1} << input); }
  bool has_norm() const { return norm != 0U; }

  /// Numbers in a parameter; 0 where there is none.
  int64_t count(int input) const {
    const auto columns = static_cast<int64_t>(dim);
    const auto of_gain = [&](uint64_t count) { return count == 2 ? columns : int64_t(count); };
    switch (input) {
      case kShortcut:
        return of_gain(shortcut_count);
      case kBranch:
        return of_gain(branch_count);
      case kBias:
        return has_bias != 0U ? columns : 0;
      case kNormWeight:
        return has_norm_weight != 0U ? columns : 0;
      default:
        return has_norm_bias != 0U ? columns : 0;
    }
  }

  /// Are the gradients of x and f_x equal? y = norm(x + f_x + bias): they are then one tensor.
  bool one_gradient() const {
    return x == f_x && shortcut_count == 0 && branch_count == 0 && drops == 0;
  }
};

}  // namespace evenkeel::detail
