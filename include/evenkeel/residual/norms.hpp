// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace evenkeel {

/// The norm placement of one residual sub-layer:
///
///     x = stream_norm(x)
///     y = sum_norm( shortcut * x + branch * branch_norm( f( input_norm(x) ) ) )
///
/// The norms of query and key, of value, and inside are part of f. Start from one of the functions
/// below, e.g. `Norms::at_input().and_branch()`.
struct Norms {
  bool stream = false;     ///< On the stream: shortcut and branch both read norm(x).
  bool second = false;     ///< On the second stream, of a scheme that has one: SiameseNorm.
  bool input = false;      ///< On the input of the branch: Pre-LN.
  bool query_key = false;  ///< On each head's query and key: HybridNorm.
  bool value = false;      ///< On each head's value: HybridNorm.
  bool inside = false;     ///< On the input of the branch's last matrix: Sub-LN.
  bool branch = false;     ///< On the output of the branch: Peri-LN.
  bool sum = false;        ///< On the sum of shortcut and branch: Post-LN.

  static constexpr Norms none() { return {}; }
  static constexpr Norms at_input() { return none().and_input(); }
  static constexpr Norms at_sum() { return none().and_sum(); }

  constexpr Norms and_stream() const { return with(&Norms::stream); }
  constexpr Norms and_second() const { return with(&Norms::second); }
  constexpr Norms and_input() const { return with(&Norms::input); }
  constexpr Norms and_query_key() const { return with(&Norms::query_key); }
  constexpr Norms and_value() const { return with(&Norms::value); }
  constexpr Norms and_inside() const { return with(&Norms::inside); }
  constexpr Norms and_branch() const { return with(&Norms::branch); }
  constexpr Norms and_sum() const { return with(&Norms::sum); }

  constexpr bool any() const {
    return stream || second || input || query_key || value || inside || branch || sum;
  }
  /// Returns whether a stack whose last sub-layer has these norms needs one more norm at its end:
  /// the stream is normalised for the branch, but the sum is not.
  constexpr bool need_final_norm() const { return (input || stream) && !sum; }

  friend constexpr bool operator==(const Norms& a, const Norms& b) {
    return a.stream == b.stream && a.second == b.second && a.input == b.input &&
           a.query_key == b.query_key && a.value == b.value && a.inside == b.inside &&
           a.branch == b.branch && a.sum == b.sum;
  }
  friend constexpr bool operator!=(const Norms& a, const Norms& b) { return !(a == b); }

 private:
  constexpr Norms with(bool Norms::*slot) const {
    auto norms = *this;
    norms.*slot = true;
    return norms;
  }
};

/// The names of the norms, e.g. "input, branch", or "none".
inline std::string to_string(const Norms& norms) {
  std::string text;
  const auto add = [&](bool is_there, const char* slot) {
    if (is_there) text += (text.empty() ? "" : ", ") + std::string(slot);
  };
  add(norms.stream, "stream");
  add(norms.second, "second stream");
  add(norms.input, "input");
  add(norms.query_key, "query and key");
  add(norms.value, "value");
  add(norms.inside, "inside");
  add(norms.branch, "branch");
  add(norms.sum, "sum");
  return text.empty() ? "none" : text;
}

}  // namespace evenkeel
