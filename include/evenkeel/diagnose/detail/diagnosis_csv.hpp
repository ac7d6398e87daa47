// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/diagnosis.hpp>
#include <evenkeel/fold/detail/whole_file.hpp>

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
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

/// A field of CSV; one that holds a comma, a quote or a line end is quoted (RFC 4180).
inline std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

inline std::string csv_of(const Diagnosis& diagnosis) {
  std::string csv = "stack,index,layer,kind,name";
  for (const auto& column : columns_of({})) csv += std::string(",") + column.first;
  csv += '\n';
  for (const auto& row : diagnosis.sublayers) {
    csv += fmt::format("{},{},{},{},{}",
                       to_string(row.position.stack),
                       row.position.index,
                       static_cast<int64_t>(row.position.layer),
                       to_string(static_cast<SublayerKind>(row.position.kind)),
                       csv_field(row.name));
    for (const auto& column : columns_of(row)) {
      csv += std::isfinite(column.second) ? fmt::format(",{}", column.second) : ",";
    }
    csv += '\n';
  }
  return csv;
}

inline void write_whole(const std::string& file, const std::string& text) {
  WholeFile whole(file);
  whole.write(text);
  whole.commit();
}

}  // namespace evenkeel::detail
