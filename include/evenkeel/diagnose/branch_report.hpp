// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/position.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

namespace evenkeel {

/// One residual sub-layer, as `check_branches` measured it.
struct BranchRow {
  std::string name;  ///< Registered name of the residual.
  Position position;
  double input_variance;   ///< Var[x], over all elements
  double omega;            ///< The shortcut's gain, the root mean square of a vector; else 1
  double branch_variance;  ///< Var[f(x)], before dropout and the branch's gain
  bool has_omega;

  /// The branch's share of the sum's variance, in [0, 1].
  double share() const {
    const double sum = omega * omega * input_variance + branch_variance;
    return sum > 0.0 ? branch_variance / sum : 0.0;
  }
};

/// What `check_branches` measured.
struct BranchReport {
  std::vector<BranchRow> rows;           ///< In forward order.
  std::optional<double> logit_variance;  ///< Over the vocabulary; empty if `forward` gave no logits

  /// The sum of all shares. A step of the optimizer moves the output of a model with norms at the
  /// sum by about a constant times this (Liu et al. 2020, theorem 2).
  double sum_of_shares() const {
    double sum = 0.0;
    for (const auto& row : rows) sum += row.share();
    return sum;
  }

  /// The median over sub-layers of Var[f(x)] / Var[x].
  double median_ratio() const {
    std::vector<double> ratios;
    for (const auto& row : rows) ratios.push_back(row.branch_variance / row.input_variance);
    if (ratios.empty()) return 0.0;
    const auto middle = ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 2);
    std::nth_element(ratios.begin(), middle, ratios.end());
    return *middle;
  }

  /// What is far from what the scheme assumes, and what to call; empty if nothing is. The limits
  /// separate models that trained from others in docs/own_models.md.
  std::vector<std::string> advice() const {
    constexpr double kSmallBranch = 0.08;
    constexpr double kMostOfPostNorm = 1.0;
    constexpr double kWideLogits = 4.0;
    const bool has_omega =
        std::all_of(rows.begin(), rows.end(), [](const auto& row) { return row.has_omega; });
    const bool has_norms = std::all_of(rows.begin(), rows.end(), [](const auto& row) {
      return row.omega != 1.0 || row.input_variance < 4.0;
    });
    std::vector<std::string> advice;
    if (has_omega && median_ratio() < kSmallBranch) {
      advice.push_back(fmt::format(
          "Branches are small: half of them have at most {:.3f} of the variance of their input, "
          "and "
          "omega is meant for about 0.1 to 1. The model learns slowly. Initialise its weights with "
          "SchemeInit.",
          median_ratio()));
    }
    if (!has_omega && has_norms && sum_of_shares() > kMostOfPostNorm) {
      advice.push_back(fmt::format(
          "One update moves the output of {} sub-layers by {:.1f} times what it moves "
          "that of one. The model may not train. Scale the shortcuts with AdminResidual "
          "and initialise the weights with SchemeInit.",
          rows.size(),
          sum_of_shares()));
    }
    if (logit_variance && *logit_variance > kWideLogits) {
      advice.push_back(fmt::format(
          "Logits have a variance of {:.1f}: the first loss is far above that of equal "
          "probabilities. The head, or the embedding that it is tied to, is initialised "
          "too wide. Initialise the weights with SchemeInit.",
          *logit_variance));
    }
    return advice;
  }

  /// A table of the sub-layers, the sum of the shares, and the advice.
  std::string to_string() const {
    constexpr auto kLine = "{:{}}  {:>8}  {:>8}  {:>8}  {:>6}\n";
    size_t width = 9;
    for (const auto& row : rows) width = std::max(width, row.name.size());
    auto text = fmt::format(kLine, "sub-layer", width, "Var x", "omega", "Var f(x)", "share");
    for (const auto& row : rows) {
      fmt::format_to(std::back_inserter(text),
                     kLine,
                     row.name,
                     width,
                     fmt::format("{:.4f}", row.input_variance),
                     fmt::format("{:.4f}", row.omega),
                     fmt::format("{:.4f}", row.branch_variance),
                     fmt::format("{:.3f}", row.share()));
    }
    fmt::format_to(std::back_inserter(text), "sum of shares {:.3f}\n", sum_of_shares());
    const auto lines = advice();
    for (const auto& line : lines) text += line + '\n';
    if (lines.empty()) text += "Branches are as large as the scheme assumes.\n";
    return text;
  }

  friend std::ostream& operator<<(std::ostream& stream, const BranchReport& report) {
    return stream << report.to_string();
  }
  friend std::string format_as(const BranchReport& report) { return report.to_string(); }
};

}  // namespace evenkeel
