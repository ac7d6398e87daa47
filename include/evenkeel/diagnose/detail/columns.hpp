// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/diagnosis_parts.hpp>

#include <utility>
#include <vector>

namespace evenkeel::detail {

/// The mean of a list; NaN if it is empty.
inline double mean_of(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// The numbers of a sub-layer with their names, as tables have them.
inline std::vector<std::pair<const char*, double>> columns_of(const SublayerDiagnosis& row) {
  return {{"input_variance", row.input_variance},
          {"branch_variance", row.branch_variance},
          {"shortcut_gain", row.shortcut_gain},
          {"branch_gain", row.branch_gain},
          {"share", row.share},
          {"output_change", row.output_change},
          {"step_change", row.step_change},
          {"gradient_norm", row.gradient_norm},
          {"rms", row.output.rms},
          {"kurtosis", row.output.kurtosis},
          {"outlier_ratio", row.output.outlier_ratio},
          {"feature_correlation", row.output.feature_correlation},
          {"token_correlation", row.output.token_correlation},
          {"trial_token_correlation", row.trial_token_correlation},
          {"near_overflow", row.output.near_overflow},
          {"attention_entropy", mean_of(row.attention_entropy)},
          {"dead_units", row.dead_units}};
}

}  // namespace evenkeel::detail
