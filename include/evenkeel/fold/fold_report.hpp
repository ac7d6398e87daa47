// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/sublayer.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel {

/// What became of one gain.
struct FoldReportRow {
  std::string name;       ///< Registered name of its sub-layer, e.g. `encoder.layer_0.self_attn`.
  GainSlot gain;          ///< What it multiplied.
  double smallest = 1.0;  ///< Its smallest value; a scalar has one value.
  double largest = 1.0;
  std::string moved_to;  ///< Where it is now, e.g. `out_proj, eps 5e-06`.
};

/// What `fold` moved, in forward order.
class FoldReport {
 public:
  FoldReport() = default;
  explicit FoldReport(std::vector<FoldReportRow> rows, std::vector<std::string> notes = {})
      : rows_(std::move(rows)), notes_(std::move(notes)) {}

  const std::vector<FoldReportRow>& rows() const& { return rows_; }
  std::vector<FoldReportRow> rows() && { return std::move(rows_); }
  /// What a reader should know, such as that there was nothing to fold.
  const std::vector<std::string>& notes() const { return notes_; }

  /// A table of sub-layer, gain, values and new place; then the notes.
  std::string to_string() const {
    constexpr auto kLine = "{:{}}  {:8}  {:>18}  {}\n";
    size_t width = 9;
    for (const auto& row : rows_) width = std::max(width, row.name.size());
    std::string table;
    if (!rows_.empty()) {
      table = fmt::format(kLine, "sub-layer", width, "gain", "values", "moved to");
    }
    for (const auto& row : rows_) {
      const auto values = row.smallest == row.largest
                              ? fmt::format("{:.4g}", row.smallest)
                              : fmt::format("{:.4g} to {:.4g}", row.smallest, row.largest);
      fmt::format_to(std::back_inserter(table),
                     kLine,
                     row.name,
                     width,
                     evenkeel::to_string(row.gain),
                     values,
                     row.moved_to);
    }
    for (const auto& note : notes_) table += "note: " + note + "\n";
    return table;
  }

  friend std::ostream& operator<<(std::ostream& stream, const FoldReport& report) {
    return stream << report.to_string();
  }
  friend std::string format_as(const FoldReport& report) { return report.to_string(); }

 private:
  std::vector<FoldReportRow> rows_;
  std::vector<std::string> notes_;
};

}  // namespace evenkeel
