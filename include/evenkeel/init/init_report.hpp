// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>

#include <c10/util/ArrayRef.h>
#include <c10/util/StringUtil.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel {

/// What an init did to one parameter, or to the rows of it that have one role.
struct InitReportRow {
  std::string name;  ///< Registered name; a part of a packed matrix as `name[1024:1536]`.
  Role role;
  std::vector<int64_t> shape;
  double factor;  ///< What the weights, as drawn or as they were, were multiplied by.
};

/// What an init did, parameter by parameter in the order of registration.
class InitReport {
 public:
  InitReport() = default;
  explicit InitReport(std::vector<InitReportRow> rows) : rows_(std::move(rows)) {}

  const std::vector<InitReportRow>& rows() const& { return rows_; }
  std::vector<InitReportRow> rows() && { return std::move(rows_); }  // for (row : init(m).rows())

  /// The table: name, role, shape, factor; parameters that were multiplied by 1 are left out.
  std::string to_string() const {
    size_t width = 9;
    for (const auto& row : rows_) width = std::max(width, row.name.size());
    std::string table =
        fmt::format("{:{}}  {:16}  {:>14}  {:>7}\n", "parameter", width, "role", "shape", "factor");
    for (const auto& row : rows_) {
      if (row.factor == 1.0) continue;
      fmt::format_to(std::back_inserter(table),
                     "{:{}}  {:16}  {:>14}  {:7.4f}\n",
                     row.name,
                     width,
                     evenkeel::to_string(row.role),
                     c10::str(c10::IntArrayRef(row.shape)),
                     row.factor);
    }
    return table;
  }

  friend std::ostream& operator<<(std::ostream& stream, const InitReport& report) {
    return stream << report.to_string();
  }
  friend std::string format_as(const InitReport& report) { return report.to_string(); }

 private:
  std::vector<InitReportRow> rows_;
};

}  // namespace evenkeel
