// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/draw.hpp>
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
  Draw draw;  ///< What it was drawn from.
};

/// What an init did, parameter by parameter in the order of registration.
class InitReport {
 public:
  InitReport() = default;
  explicit InitReport(std::vector<InitReportRow> rows) : rows_(std::move(rows)) {}

  const std::vector<InitReportRow>& rows() const& { return rows_; }
  std::vector<InitReportRow> rows() && { return std::move(rows_); }  // for (row : init(m).rows())

  /// The table: name, role, shape, distribution, gain; parameters that stayed as they were are
  /// left out.
  std::string to_string() const {
    constexpr auto kLine = "{:{}}  {:16}  {:>14}  {:14}  {:>7}\n";
    size_t width = 9;
    for (const auto& row : rows_) width = std::max(width, row.name.size());
    auto table = fmt::format(kLine, "parameter", width, "role", "shape", "distribution", "gain");
    for (const auto& row : rows_) {
      if (row.draw == Draw::keep()) continue;
      fmt::format_to(std::back_inserter(table),
                     kLine,
                     row.name,
                     width,
                     evenkeel::to_string(row.role),
                     c10::str(c10::IntArrayRef(row.shape)),
                     evenkeel::to_string(row.draw.distribution),
                     row.draw.distribution == Distribution::kZero
                         ? std::string()
                         : fmt::format("{:.4f}", row.draw.gain));
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
