// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace evenkeel {

/// The norm placement of one residual sub-layer:
///
///     y = sum_norm( shortcut * x + branch * branch_norm( f( input_norm(x) ) ) )
///
/// An inside norm is part of f: it normalises the input of f's last matrix, as in Sub-LN.
struct Norms {
  bool input = false;   ///< On the input of the branch: Pre-LN.
  bool inside = false;  ///< On the input of the branch's last matrix: Sub-LN.
  bool branch = false;  ///< On the output of the branch: Peri-LN.
  bool sum = false;     ///< On the sum of shortcut and branch: Post-LN.

  static constexpr Norms none() { return {}; }
  static constexpr Norms at_input() { return {true, false, false, false}; }
  static constexpr Norms at_sum() { return {false, false, false, true}; }

  /// Adds a norm, e.g. `Norms::at_input().and_branch()`.
  constexpr Norms and_input() const { return {true, inside, branch, sum}; }
  constexpr Norms and_inside() const { return {input, true, branch, sum}; }
  constexpr Norms and_branch() const { return {input, inside, true, sum}; }
  constexpr Norms and_sum() const { return {input, inside, branch, true}; }

  constexpr bool any() const { return input || inside || branch || sum; }
  /// Returns whether a stack whose last sub-layer has these norms needs one more norm at its end:
  /// the branch's input is normalised, but the sum is not.
  constexpr bool need_final_norm() const { return input && !sum; }

  friend constexpr bool operator==(const Norms& a, const Norms& b) {
    return a.input == b.input && a.inside == b.inside && a.branch == b.branch && a.sum == b.sum;
  }
  friend constexpr bool operator!=(const Norms& a, const Norms& b) { return !(a == b); }
};

/// The names of the norms, e.g. "input, branch", or "none".
inline std::string to_string(const Norms& norms) {
  std::string text;
  const auto add = [&](bool is_there, const char* slot) {
    if (is_there) text += (text.empty() ? "" : ", ") + std::string(slot);
  };
  add(norms.input, "input");
  add(norms.inside, "inside");
  add(norms.branch, "branch");
  add(norms.sum, "sum");
  return text.empty() ? "none" : text;
}

}  // namespace evenkeel
