// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace evenkeel {

/// Where the norms of one residual sub-layer stand:
///
///     y = sum_norm( shortcut * x + branch * branch_norm( f( input_norm(x) ) ) )
///
/// An inside norm is f's own: it normalises what f's last matrix reads, as in Sub-LN.
struct Norms {
  bool input = false;   ///< Of what the branch reads: Pre-LN.
  bool inside = false;  ///< Of what the branch's last matrix reads: Sub-LN.
  bool branch = false;  ///< Of what the branch gives: Peri-LN.
  bool sum = false;     ///< Of shortcut and branch together: Post-LN.

  static constexpr Norms none() { return {}; }
  static constexpr Norms at_input() { return {true, false, false, false}; }
  static constexpr Norms at_sum() { return {false, false, false, true}; }

  /// These norms and one more, e.g. `Norms::at_input().and_branch()`.
  constexpr Norms and_input() const { return {true, inside, branch, sum}; }
  constexpr Norms and_inside() const { return {input, true, branch, sum}; }
  constexpr Norms and_branch() const { return {input, inside, true, sum}; }
  constexpr Norms and_sum() const { return {input, inside, branch, true}; }

  constexpr bool any() const { return input || inside || branch || sum; }
  /// Returns whether a stack whose last sub-layer has these norms ends in one more: its branch read
  /// a normalised stream, but what it leaves is not normalised.
  constexpr bool leave_sum_open() const { return input && !sum; }

  friend constexpr bool operator==(const Norms& a, const Norms& b) {
    return a.input == b.input && a.inside == b.inside && a.branch == b.branch && a.sum == b.sum;
  }
  friend constexpr bool operator!=(const Norms& a, const Norms& b) { return !(a == b); }
};

/// As in a table: "input, branch", or "none".
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
