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
  bool norm_at_sum;        ///< Whether the sum is normalised, as far as the residual tells

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

  /// What is far from what a scheme assumes, and what to call; empty if nothing is. The limits
  /// separate the models of docs/own_models.md that trained without warm-up from those that did
  /// not.
  std::vector<std::string> advice() const {
    constexpr double kWideLogits = 4.0;
    constexpr double kMostShares = 0.5;
    constexpr double kSmallBranch = 0.08;
    std::vector<std::string> advice;
    if (logit_variance && *logit_variance > kWideLogits) {
      advice.push_back(fmt::format(
          "The logits have a variance of {:.1f}, so the first loss is far above that of equal "
          "probabilities. The head, or the embedding that it is tied to, is initialised too wide: "
          "initialise the weights with SchemeInit.",
          *logit_variance));
    }
    const bool normed =
        std::all_of(rows.begin(), rows.end(), [](const auto& row) { return row.norm_at_sum; });
    if (normed && sum_of_shares() > kMostShares) {
      advice.push_back(fmt::format(
          "The shares add up to {:.2f}: an update moves the output so far that the model may not "
          "train without warm-up or at a high learning rate. Let the shortcuts keep it from "
          "growing with depth, with "
          "AdminResidualOptions::output_change_scale(OutputChangeScale::kO1).",
          sum_of_shares()));
    }
    const bool scaled =
        std::any_of(rows.begin(), rows.end(), [](const auto& row) { return row.omega > 1.0; });
    if (scaled && median_ratio() < kSmallBranch) {
      advice.push_back(fmt::format(
          "The branches are small: half of them have at most {:.3f} of the variance of their "
          "input, and omega is meant for 0.1 to 1. The model learns slowly at first: initialise "
          "the weights with SchemeInit.",
          median_ratio()));
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
    if (lines.empty()) text += "The branches are as large as the scheme assumes.\n";
    return text;
  }

  friend std::ostream& operator<<(std::ostream& stream, const BranchReport& report) {
    return stream << report.to_string();
  }
  friend std::string format_as(const BranchReport& report) { return report.to_string(); }
};

}  // namespace evenkeel
