// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/detail/columns.hpp>
#include <evenkeel/diagnose/diagnosis.hpp>
#include <evenkeel/fold/detail/whole_file.hpp>

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <string>

namespace evenkeel::detail {

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
