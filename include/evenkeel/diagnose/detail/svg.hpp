// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Charts as inline SVG. Colours are the variables of the page that holds them: --ink, --muted,
/// --line, --series-0, --series-1 and --heat.
namespace evenkeel::detail {

/// Text of HTML, also of an attribute in double quotes.
inline std::string html_text(std::string_view text) {
  std::string html;
  for (const char c : text) {
    if (c == '&') {
      html += "&amp;";
    } else if (c == '<') {
      html += "&lt;";
    } else if (c == '"') {
      html += "&quot;";
    } else {
      html += c;
    }
  }
  return html;
}

/// A number for people: three digits, a dash if it is not finite.
inline std::string shown(double value) {
  if (!std::isfinite(value)) return "–";
  const double size = std::abs(value);
  if (size != 0.0 && (size < 1e-3 || size >= 1e5)) return fmt::format("{:.1e}", value);
  return fmt::format("{:.3g}", value);
}

/// One line of a chart.
struct Series {
  std::string name;
  std::vector<double> values;  ///< One for each x; those that are not finite are skipped.
};

/// The range of an axis and the values at its ticks.
struct Axis {
  bool log = false;
  double low = 0.0;
  double high = 1.0;
  std::vector<double> ticks;

  /// Where a value stands, 0 at the low end and 1 at the high one.
  double share(double value) const {
    return log ? (std::log10(value) - low) / (high - low) : (value - low) / (high - low);
  }
};

inline bool is_drawn(double value, bool log) {
  return std::isfinite(value) && (!log || value > 0.0);
}

/// An axis for these values; that of a logarithm has whole decades as ticks, few of them.
inline Axis axis_for(const std::vector<Series>& series, bool log) {
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (const auto& line : series) {
    for (const double value : line.values) {
      if (!is_drawn(value, log)) continue;
      const double place = log ? std::log10(value) : value;
      low = std::min(low, place);
      high = std::max(high, place);
    }
  }
  Axis axis;
  axis.log = log;
  if (low > high) return axis;
  if (log) {
    axis.low = std::floor(low);
    axis.high = std::max(std::ceil(high), axis.low + 1.0);
    const double step = std::max(1.0, std::ceil((axis.high - axis.low) / 5.0));
    const auto steps = static_cast<int>((axis.high - axis.low) / step);
    for (int i = 0; i <= steps; ++i) {
      axis.ticks.push_back(std::pow(10.0, axis.low + step * static_cast<double>(i)));
    }
    return axis;
  }
  axis.low = low >= 0.0 && low < 0.5 * high ? 0.0 : low;
  const double range = std::max(high - axis.low, std::max(1e-12, 1e-3 * std::abs(high)));
  const double rough = range / 4.0;
  const double decade = std::pow(10.0, std::floor(std::log10(rough)));
  const double step = decade * (rough > 5.0 * decade   ? 10.0
                                : rough > 2.0 * decade ? 5.0
                                : rough > decade       ? 2.0
                                                       : 1.0);
  axis.low = step * std::floor(axis.low / step + 1e-9);
  axis.high = step * std::ceil((axis.low + range) / step - 1e-9);
  axis.high = std::max(axis.high, step * std::ceil(high / step - 1e-9));
  for (int i = 0; axis.low + i * step <= axis.high * (1.0 + 1e-9) + 1e-300; ++i) {
    axis.ticks.push_back(axis.low + i * step);
  }
  return axis;
}

/// A chart of lines over 1, 2, 3, ... on the x axis.
inline std::string line_chart(const std::string& title,
                              const std::string& x_label,
                              const std::vector<Series>& series,
                              bool log) {
  constexpr double kLeft = 56, kTop = 30, kWidth = 340, kHeight = 170;
  const auto axis = axis_for(series, log);
  size_t count = 0;
  for (const auto& line : series) count = std::max(count, line.values.size());
  const auto x = [&](size_t i) {
    return kLeft + (count > 1 ? kWidth * static_cast<double>(i) / static_cast<double>(count - 1)
                              : kWidth / 2.0);
  };
  const auto y = [&](double value) { return kTop + kHeight * (1.0 - axis.share(value)); };
  auto svg = fmt::format(R"(<svg viewBox="0 0 410 240" role="img" aria-label="{0}">)"
                         R"(<text x="0" y="14" class="title">{0}</text>)",
                         html_text(title));
  for (const double tick : axis.ticks) {
    fmt::format_to(std::back_inserter(svg),
                   R"(<line x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}" class="grid"/>)"
                   R"(<text x="{3}" y="{4:.1f}" class="tick end">{5}</text>)",
                   kLeft,
                   kLeft + kWidth,
                   y(tick),
                   kLeft - 6,
                   y(tick) + 4,
                   shown(tick));
  }
  std::vector<size_t> ticks{0};
  if (count > 2) ticks.push_back((count - 1) / 2);
  if (count > 1) ticks.push_back(count - 1);
  for (const auto i : ticks) {
    fmt::format_to(std::back_inserter(svg),
                   R"(<text x="{:.1f}" y="{}" class="tick middle">{}</text>)",
                   x(i),
                   kTop + kHeight + 16,
                   i + 1);
  }
  fmt::format_to(std::back_inserter(svg),
                 R"(<text x="{}" y="{}" class="tick">{}</text>)",
                 kLeft,
                 kTop + kHeight + 32,
                 html_text(x_label));
  double legend = 404;
  for (size_t n = series.size(); n-- > 0;) {
    const auto& line = series[n];
    std::string path;
    for (size_t i = 0; i < line.values.size(); ++i) {
      if (!is_drawn(line.values[i], log)) continue;
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x(i), y(line.values[i]));
    }
    fmt::format_to(std::back_inserter(svg), R"(<path d="{}" class="series s{}"/>)", path, n % 2);
    if (series.size() > 1) {
      fmt::format_to(std::back_inserter(svg),
                     R"(<text x="{:.0f}" y="{}" class="tick end t{}">{}</text>)",
                     legend,
                     kTop + kHeight + 32,
                     n % 2,
                     html_text(line.name));
      legend -= 8.0 * static_cast<double>(line.name.size()) + 10.0;
    }
  }
  return svg + "</svg>";
}

/// A heat map: `cells[row][column]`, darker where larger, between `low` and `high`; an empty place
/// where a value is not finite. Beyond 64 rows or columns, neighbours share a cell, which has the
/// largest of them.
inline std::string heat_map(const std::string& title,
                            const std::string& x_label,
                            const std::vector<std::string>& row_names,
                            const std::vector<std::vector<double>>& cells,
                            double low,
                            double high) {
  constexpr size_t kMost = 64;
  size_t columns = 0;
  for (const auto& row : cells) columns = std::max(columns, row.size());
  const auto together = [&](size_t count) {
    return std::max<size_t>(1, (count + kMost - 1) / kMost);
  };
  const size_t across = together(columns), down = together(cells.size());
  const size_t wide = (columns + across - 1) / across, tall = (cells.size() + down - 1) / down;
  const double left = row_names.empty() ? 30 : 138;
  const double width = (404.0 - left) / static_cast<double>(std::max<size_t>(wide, 1));
  const double height =
      row_names.empty() ? 250.0 / static_cast<double>(std::max<size_t>(tall, 1)) : 18.0;
  const double bottom = 26.0 + height * static_cast<double>(tall);
  auto svg = fmt::format(R"(<svg viewBox="0 0 410 {:.0f}" role="img" aria-label="{}">)"
                         R"(<text x="0" y="14" class="title">{}</text>)",
                         bottom + 36,
                         html_text(title),
                         html_text(title));
  for (size_t row = 0; row < tall; ++row) {
    for (size_t column = 0; column < wide; ++column) {
      double value = -std::numeric_limits<double>::infinity();
      for (size_t r = row * down; r < std::min((row + 1) * down, cells.size()); ++r) {
        for (size_t c = column * across; c < std::min((column + 1) * across, cells[r].size());
             ++c) {
          if (std::isfinite(cells[r][c])) value = std::max(value, cells[r][c]);
        }
      }
      if (!std::isfinite(value)) continue;
      const double depth = high > low ? std::clamp((value - low) / (high - low), 0.0, 1.0) : 1.0;
      fmt::format_to(std::back_inserter(svg),
                     R"(<rect x="{:.1f}" y="{:.1f}" width="{:.2f}" height="{:.2f}" )"
                     R"(class="heat" fill-opacity="{:.2f}"/>)",
                     left + width * static_cast<double>(column),
                     26.0 + height * static_cast<double>(row),
                     width,
                     height,
                     0.04 + 0.96 * depth);
    }
    const auto label = row_names.empty() ? std::string() : row_names[row];
    const bool at_end = row == 0 || row + 1 == tall;
    if (row_names.empty() && !at_end) continue;
    fmt::format_to(
        std::back_inserter(svg),
        R"(<text x="{:.0f}" y="{:.1f}" class="tick end">{}</text>)",
        left - 6,
        26.0 + height * (static_cast<double>(row) + 0.5) + 4.0,
        row_names.empty() ? std::to_string(row == 0 ? 1 : cells.size()) : html_text(label));
  }
  fmt::format_to(std::back_inserter(svg),
                 R"(<text x="{:.0f}" y="{:.1f}" class="tick middle">{}</text>)",
                 left + (404.0 - left) / 2,
                 bottom + 18,
                 html_text(x_label));
  return svg + "</svg>";
}

}  // namespace evenkeel::detail
