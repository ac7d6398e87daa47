// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/omega.hpp>
#include <evenkeel/residual/scheme.hpp>

namespace evenkeel {

namespace detail {

/// Name, title and summary of `AdminScheme` for a given scale.
struct AdminWords {
  const char* name;
  const char* title;
  const char* summary;
};

constexpr AdminWords admin_words(OutputChangeScale scale) {
  switch (scale) {
    case OutputChangeScale::kON:
      return {"admin-on", "Admin O(n)", "y = norm(omega * x + f(x)), omega trained from 1"};
    case OutputChangeScale::kO1:
      return {"admin-o1",
              "Admin O(1)",
              "y = norm(omega * x + f(x)), omega trained from sqrt(n): for very deep stacks"};
    case OutputChangeScale::kOLogN:
      break;
  }
  return {"admin",
          "Admin O(logn)",
          "y = norm(omega * x + f(x)), omega trained from sqrt((n+1)/ln(n+1) - 1)"};
}

}  // namespace detail

/// Admin, y = norm(omega * x + f(x)): omega starts at `omega_init()` of the stack's depth and is
/// trained, one value per channel. Paper: Liu et al. 2020, https://arxiv.org/abs/2004.08249.
template <OutputChangeScale kScale>
struct AdminScheme {
  static constexpr const char* kName = detail::admin_words(kScale).name;
  static constexpr const char* kTitle = detail::admin_words(kScale).title;
  static constexpr const char* kSummary = detail::admin_words(kScale).summary;
  static Norms norms(const Position&) { return Norms::at_sum(); }
  static Gain shortcut(const Position& position) {
    return Gain::trained(omega_init(position.num_res_layers, kScale), GainShape::kPerChannel);
  }
};

/// The output change grows as O(log n), admin-torch's default.
using Admin = AdminScheme<OutputChangeScale::kOLogN>;
/// The output change does not grow with depth.
using AdminO1 = AdminScheme<OutputChangeScale::kO1>;

/// Admin as admin-torch has it by default: omega is one constant, `omega_init()` of the stack's
/// depth with O(log n), and is not trained.
struct AdminConstant {
  static constexpr const char* kName = "admin-constant";
  static constexpr const char* kTitle = "Admin constant";
  static constexpr const char* kSummary =
      "y = norm(omega * x + f(x)), omega constant at sqrt((n+1)/ln(n+1) - 1)";
  static Norms norms(const Position&) { return Norms::at_sum(); }
  static Gain shortcut(const Position& position) {
    return Gain::fixed(omega_init(position.num_res_layers));
  }
};

/// Admin as its paper has it: omega is trained, one value per channel, from what `profile_admin`
/// measures on a batch before training, and is 1 until then.
struct AdminProfiled {
  static constexpr const char* kName = "admin-profiled";
  static constexpr const char* kTitle = "Admin profiled";
  static constexpr const char* kSummary =
      "y = norm(omega * x + f(x)), omega trained from what a profile measured";
  static constexpr bool kProfiled = true;
  static Norms norms(const Position&) { return Norms::at_sum(); }
  static Gain shortcut(const Position&) { return Gain::trained(1.0, GainShape::kPerChannel); }
};

}  // namespace evenkeel
