// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/diagnosis.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::detail {

/// The limits of a verdict. benchmarks/doctor.py fits the first to one half of its runs, and judges
/// it on the other: docs/doctor.md has the table.
struct VerdictLimits {
  /// A model diverges if 1 - token correlation of its output falls below this in the updates that
  /// are tried: its tokens can then no longer be told apart, and no gradient says how (rank
  /// collapse, Noci et al. 2022, https://arxiv.org/abs/2206.03126).
  static constexpr double kCollapsed = 5e-5;
  /// It is nearly so at this multiple; the first sub-layer from which on all are is where it
  /// begins.
  static constexpr double kNearly = 20.0;
  /// A verdict's log odds for each factor of e between the measure and its limit.
  static constexpr double kOddsSlope = 1.3;
  /// A model diverges if the loss rises to this multiple of the first one in the updates tried.
  static constexpr double kRises = 1.5;
  /// A stack with norms at the sums whose branches' shares add up to more may do better with larger
  /// gains of its shortcuts: Admin O(1) is below it at every depth.
  static constexpr double kManyShares = 1.0;
  /// The change by one update that advice on the learning rate aims at. Without warm-up, Post-LN
  /// stacks of docs/doctor.md trained up to 0.49, and got stuck from 0.78 on.
  static constexpr double kModestChange = 0.3;
};

inline std::string name_of(const SublayerDiagnosis& row) {
  return fmt::format("{} layer {}, {}",
                     to_string(row.position.stack),
                     static_cast<int64_t>(row.position.layer) + 1,
                     row.name);
}

/// 1 - token correlation of the output after the updates that were tried; NaN if it was not
/// measured.
inline double distance_of_tokens(const Diagnosis& diagnosis) {
  return 1.0 - diagnosis.trial.back().token_correlation;
}

/// The first sub-layer from which on all tokens look alike, up to the end of its stack; else the
/// one that an update changes most.
inline const SublayerDiagnosis* where_it_begins(const Diagnosis& diagnosis) {
  const auto& rows = diagnosis.sublayers;
  const SublayerDiagnosis* first = nullptr;
  const SublayerDiagnosis* most = nullptr;
  for (const auto& row : rows) {
    const bool goes_on = first != nullptr && first->position.stack == row.position.stack;
    const bool alike =
        1.0 - row.trial_token_correlation < VerdictLimits::kNearly * VerdictLimits::kCollapsed;
    if (first != nullptr && !goes_on) break;  // a stack has ended like this
    if (!alike) first = nullptr;
    if (alike && first == nullptr) first = &row;
    const bool measured = std::isfinite(row.step_change);
    if (measured && (most == nullptr || row.step_change > most->step_change)) most = &row;
  }
  return first != nullptr ? first : most;
}

inline bool any_norm(const Diagnosis& diagnosis) {
  return std::any_of(diagnosis.sublayers.begin(), diagnosis.sublayers.end(), [](const auto& row) {
    return row.has_norm;
  });
}

/// What mends a model that diverges, the best first.
inline std::vector<std::string> advice_for(const Diagnosis& diagnosis) {
  const auto& options = diagnosis.options;
  std::vector<std::string> advice;
  double change = 0.0;
  double shares = 0.0;
  for (const auto& stack : diagnosis.stacks) {
    if (std::isfinite(stack.step_change)) change = std::max(change, stack.step_change);
    if (std::isfinite(stack.sum_of_shares)) shares = std::max(shares, stack.sum_of_shares);
  }
  if (shares > VerdictLimits::kManyShares) {
    advice.push_back(
        fmt::format("The scheme admin-o1: its shortcuts keep the sum of the branches' shares, here "
                    "{:.2g}, from "
                    "growing with depth.",
                    shares));
    advice.emplace_back("A norm at the input of each branch instead: the scheme pre.");
  }
  if (!any_norm(diagnosis)) {
    advice.emplace_back(
        "Initial weights by depth, since no norm holds the sums: the scheme tfixup, or a norm: the "
        "scheme pre.");
  }
  const double rate = options.learning_rate();
  if (change > VerdictLimits::kModestChange) {
    advice.push_back(fmt::format(
        "A learning rate of {:.1g} instead of {:.2g}: an update then changes the output by about "
        "{} of its variance, instead of {:.2g}.",
        rate * std::sqrt(VerdictLimits::kModestChange / change),
        rate,
        VerdictLimits::kModestChange,
        change));
  } else {
    advice.push_back(fmt::format("A lower learning rate than {:.2g}.", rate));
  }
  if (options.warmup_steps() == 0) {
    advice.emplace_back("A warm-up, of some hundred updates or more.");
  } else {
    advice.push_back(fmt::format("A longer warm-up than {} updates.", options.warmup_steps()));
  }
  if (options.clip_norm() == 0.0) advice.emplace_back("Gradients clipped at a norm of 1.");
  return advice;
}

inline Verdict judge(const Diagnosis& diagnosis) {
  Verdict verdict;
  if (diagnosis.trial.empty()) return verdict;
  const auto& first = diagnosis.trial.front();
  const auto& last = diagnosis.trial.back();
  const auto updates = diagnosis.trial.size() - 1;
  const double distance = distance_of_tokens(diagnosis);
  const bool explodes = !std::isfinite(last.loss) || last.loss > VerdictLimits::kRises * first.loss;
  const bool collapses = distance < VerdictLimits::kCollapsed;
  const bool diverges = explodes || collapses;
  verdict.outcome = diverges ? Outcome::kDiverges : Outcome::kTrains;
  const double odds =
      explodes || !std::isfinite(distance)
          ? 4.0
          : VerdictLimits::kOddsSlope *
                std::abs(std::log(std::max(distance, 1e-12) / VerdictLimits::kCollapsed));
  verdict.confidence = std::min(0.99, 1.0 / (1.0 + std::exp(-odds)));
  verdict.summary = fmt::format(
      "{} (confidence {:.0f}%).",
      explodes    ? "Will diverge: the loss grows without bound"
      : collapses ? "Will diverge: the output collapses to the same vector for every token"
                  : "Will train",
      100.0 * verdict.confidence);
  verdict.because.push_back(fmt::format(
      "In {} updates that were tried on one batch, {}, the loss went from {:.3g} to {:.3g}.",
      updates,
      diagnosis.options.warmup_steps() > 0
          ? fmt::format("with the learning rate rising to {:.2g}",
                        diagnosis.options.learning_rate())
          : fmt::format("at a learning rate of {:.2g}", diagnosis.options.learning_rate()),
      first.loss,
      last.loss));
  if (std::isfinite(distance)) {
    verdict.because.push_back(fmt::format(
        "Two tokens' outputs then differ by 1 - cosine = {:.1e} (before: {:.1e}); below "
        "{:.0e} nothing can be told apart.",
        std::max(distance, 0.0),
        1.0 - first.token_correlation,
        VerdictLimits::kCollapsed));
  }
  for (const auto& stack : diagnosis.stacks) {
    const auto name = to_string(stack.stack);
    if (std::isfinite(stack.step_change)) {
      verdict.because.push_back(fmt::format(
          "One update at the highest rate changes the {}'s output by {:.2g} of its variance; at 2 "
          "nothing of it is left.",
          name,
          stack.step_change));
    }
    if (std::isfinite(stack.sum_of_shares)) {
      verdict.because.push_back(
          fmt::format("The branches' shares in the {} add up to {:.2g} over {} sub-layers.",
                      name,
                      stack.sum_of_shares,
                      stack.num_res_layers));
    }
    if (std::isfinite(stack.as_post_norm) && stack.output_change > 0.0) {
      verdict.because.push_back(
          fmt::format("Moving the weights changes the {}'s output {:.2g} times as much as it would "
                      "with all gains 1, as in Post-LN.",
                      name,
                      stack.output_change / stack.as_post_norm));
    }
  }
  double overflow = 0.0;
  for (const auto& row : diagnosis.sublayers) {
    if (std::isfinite(row.output.near_overflow)) {
      overflow = std::max(overflow, row.output.near_overflow);
    }
  }
  if (overflow > 0.0) {
    verdict.because.push_back(
        fmt::format("{:.2g} of the values of a sub-layer are near what float16 holds.", overflow));
  }
  if (diverges) {
    if (const auto* row = where_it_begins(diagnosis)) {
      verdict.where = name_of(*row);
      verdict.because.push_back("It begins in the " + verdict.where + ".");
    }
    verdict.advice = advice_for(diagnosis);
  }
  if (overflow > 0.0) {
    verdict.advice.emplace_back("bfloat16 or float32 instead of float16.");
  }
  return verdict;
}

}  // namespace evenkeel::detail
