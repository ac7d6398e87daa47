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

/// How one parameter, or the rows of it that share one role, was initialised.
struct InitReportRow {
  std::string name;  ///< Registered name; `name[1024:1536]` for a part of a packed matrix.
  Role role;
  std::vector<int64_t> shape;
  Draw draw;             ///< Its distribution and gain.
  bool by_name = false;  ///< Whether the role follows only from the registered name.
};

/// How every parameter was initialised, in order of registration.
class InitReport {
 public:
  InitReport() = default;
  explicit InitReport(std::vector<InitReportRow> rows, std::vector<std::string> notes = {})
      : rows_(std::move(rows)), notes_(std::move(notes)) {}

  const std::vector<InitReportRow>& rows() const& { return rows_; }
  std::vector<InitReportRow> rows() && { return std::move(rows_); }  // for (row : init(m).rows())
  /// What the initialisation does not cover, such as norms that the scheme does without.
  const std::vector<std::string>& notes() const { return notes_; }

  /// A table of name, role, shape, distribution and gain, without parameters that were not changed;
  /// then the notes. A role that follows only from the registered name is marked `by name`.
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
                     std::string(evenkeel::to_string(row.role)) + (row.by_name ? " by name" : ""),
                     c10::str(c10::IntArrayRef(row.shape)),
                     evenkeel::to_string(row.draw.distribution),
                     row.draw.distribution == Distribution::kZero
                         ? std::string()
                         : fmt::format("{:.4f}", row.draw.gain));
    }
    for (const auto& note : notes_) table += "note: " + note + "\n";
    return table;
  }

  friend std::ostream& operator<<(std::ostream& stream, const InitReport& report) {
    return stream << report.to_string();
  }
  friend std::string format_as(const InitReport& report) { return report.to_string(); }

 private:
  std::vector<InitReportRow> rows_;
  std::vector<std::string> notes_;
};

}  // namespace evenkeel
