// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/detail/columns.hpp>
#include <evenkeel/diagnose/detail/svg.hpp>
#include <evenkeel/diagnose/diagnosis.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace evenkeel::detail {

inline constexpr const char* kPageStyle = R"css(
:root { --page: #fff; --card: #f6f7f9; --ink: #1c2128; --muted: #5b6470; --line: #d9dde3; --bad: #c8281a;
  --good: #117a58; --series-0: #14549c; --series-1: #c8481a; --heat: #14549c; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --card: #1d2128; --ink: #e8ebef;
  --muted: #a0a9b5; --line: #363d47; --bad: #ff8a7a; --good: #4fc79b; --series-0: #5aa2f0;
  --series-1: #ff8a5c; --heat: #7fb8f5; } }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --muted: #444; --line: #bbb; --bad: #a00;
  --good: #060; --series-0: #14549c; --series-1: #c8481a; --heat: #14549c; } figure { break-inside: avoid; }
  body { max-width: none !important; padding: 0 !important; } td, th { padding: 1px 3px !important; font-size: 6.5pt !important; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 2rem 1rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p { max-width: 46rem; margin: .5rem 0; }
.note { color: var(--muted); font-size: .9rem; }
.verdict { background: var(--card); border-left: 6px solid var(--good); border-radius: 6px; padding: .8rem 1.1rem; }
.verdict.diverges { border-color: var(--bad); }
.verdict strong { font-size: 1.15rem; color: var(--good); }
.verdict.diverges strong { color: var(--bad); }
.verdict ul { margin: .3rem 0; padding-left: 1.2rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 1.4rem 2rem; }
figure { margin: 0; min-width: 0; }
figcaption { color: var(--muted); font-size: .85rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: inherit; fill: var(--ink); font-size: 12px; }
svg .title { font-weight: 600; font-size: 13px; }
svg .tick { fill: var(--muted); }
svg .end { text-anchor: end; }
svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .series { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .s0 { stroke: var(--series-0); } svg .s1 { stroke: var(--series-1); }
svg .t0 { fill: var(--series-0); } svg .t1 { fill: var(--series-1); }
svg .heat { fill: var(--heat); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }
th { font-weight: 500; color: var(--muted); text-align: right; vertical-align: bottom; line-height: 1.2; }
td { text-align: right; white-space: nowrap; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
)css";

inline std::string figure(const std::string& picture, const std::string& caption) {
  return "<figure>" + picture + "<figcaption>" + caption + "</figcaption></figure>\n";
}

inline std::string html_list(const std::vector<std::string>& sentences) {
  std::string html;
  for (const auto& sentence : sentences) html += "<li>" + html_text(sentence) + "</li>";
  return sentences.empty() ? "" : "<ul>" + html + "</ul>";
}

inline std::string html_verdict(const Verdict& verdict) {
  return fmt::format("<section class=\"verdict {}\"><strong>{}</strong>{}{}{}</section>\n",
                     to_string(verdict.outcome),
                     html_text(verdict.summary),
                     html_list(verdict.because),
                     verdict.advice.empty() ? "" : "<p>What mends it, the best first:</p>",
                     html_list(verdict.advice));
}

/// A member of every sub-layer of each stack, as a chart's lines.
template <typename Value>
std::vector<Series> series_of(const Diagnosis& diagnosis, Value&& value) {
  std::vector<Series> series;
  for (const auto& stack : diagnosis.stacks) {
    Series line{to_string(stack.stack), {}};
    for (const auto& row : diagnosis.sublayers) {
      if (row.position.stack == stack.stack) line.values.push_back(value(row));
    }
    series.push_back(std::move(line));
  }
  return series;
}

/// 1 - token correlation, at least what float32 can tell apart.
inline double distance_of(double token_correlation) {
  constexpr double kLeastDistance = 1e-9;
  return std::isfinite(token_correlation) ? std::max(1.0 - token_correlation, kLeastDistance)
                                          : kNotMeasured;
}

inline std::string html_curves(const Diagnosis& diagnosis) {
  constexpr auto kSublayer = "sub-layer";
  const auto chart = [&](const char* title, const char* caption, bool log, auto value) {
    const auto series = series_of(diagnosis, value);
    const bool any = std::any_of(series.begin(), series.end(), [&](const Series& line) {
      return std::any_of(line.values.begin(), line.values.end(), [&](double v) {
        return is_drawn(v, log);
      });
    });
    return any ? figure(line_chart(title, kSublayer, series, log), caption) : std::string();
  };
  using Row = const SublayerDiagnosis&;
  std::vector<Series> losses{{"loss", {}}}, distances{{"distance", {}}};
  for (const auto& step : diagnosis.trial) {
    losses[0].values.push_back(step.loss);
    distances[0].values.push_back(distance_of(step.token_correlation));
  }
  std::string html =
      figure(line_chart("Loss before each update that was tried", "update", losses, false),
             "All on one batch: it falls unless updates undo each other.") +
      figure(
          line_chart("Distance of tokens, last output", "update", distances, true),
          "1 - cosine of two tokens' outputs, the mean over pairs. Near 0 all tokens look alike, "
          "and nothing can be told apart.") +
      chart("Change after one update",
            "Of each output, in its variance; 2 means that nothing is left of it.",
            true,
            [](Row row) { return row.step_change; }) +
      chart("Output change, perturbed weights",
            "Every matrix moved by a small random step.",
            true,
            [](Row row) { return row.output_change; }) +
      chart("Gradient norm",
            "Of the loss, by the output of the sub-layer.",
            true,
            [](Row row) { return row.gradient_norm; }) +
      chart("Share of the branch",
            "Of the variance of shortcut plus branch.",
            false,
            [](Row row) { return row.share; }) +
      chart("Distance of tokens",
            "1 - cosine of two tokens' outputs, before any update.",
            true,
            [](Row row) { return distance_of(row.output.token_correlation); }) +
      chart("Distance of tokens after the updates",
            "The same after all updates that were tried.",
            true,
            [](Row row) { return distance_of(row.trial_token_correlation); }) +
      chart("Activation rms",
            "Of the outputs, centred.",
            true,
            [](Row row) { return row.output.rms; }) +
      chart("Kurtosis",
            "0 where all features are alike; large where a few outliers hold everything.",
            true,
            [](Row row) { return row.output.kurtosis; }) +
      chart("Dead ReLU units", "Share of units that are 0 for every token.", false, [](Row row) {
        return row.dead_units;
      });
  return "<div class=\"charts\">\n" + html + "</div>\n";
}

/// Gradients of matrices: a row a role, a column a layer.
inline std::string gradient_map(const Diagnosis& diagnosis, Stack stack) {
  std::map<std::string, std::vector<double>> by_role;
  double low = 1e300, high = -1e300;
  for (const auto& matrix : diagnosis.matrices) {
    if (matrix.stack != stack || matrix.layer < 0 || !is_drawn(matrix.gradient_norm, true))
      continue;
    auto& row = by_role[matrix.cross ? "cross " + std::string(to_string(matrix.role))
                                     : to_string(matrix.role)];
    row.resize(std::max(row.size(), static_cast<size_t>(matrix.layer) + 1), kNotMeasured);
    const double value = std::log10(matrix.gradient_norm);
    row[static_cast<size_t>(matrix.layer)] = value;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (by_role.empty()) return "";
  std::vector<std::string> names;
  std::vector<std::vector<double>> cells;
  for (auto& [name, row] : by_role) {
    names.push_back(name);
    cells.push_back(std::move(row));
  }
  return figure(heat_map(fmt::format("Gradients of the {}'s matrices", to_string(stack)),
                         "layer, the first at the left",
                         names,
                         cells,
                         low - 0.05,
                         high),
                fmt::format("Norms from {} to {}, by their logarithm.",
                            shown(std::pow(10.0, low)),
                            shown(std::pow(10.0, high))));
}

inline std::string html_maps(const Diagnosis& diagnosis) {
  std::string html;
  for (const auto& stack : diagnosis.stacks) {
    double high = 0.0;
    for (const auto& row : stack.dependency) {
      for (const double value : row) high = std::max(high, std::isfinite(value) ? value : 0.0);
    }
    if (!stack.dependency.empty()) {
      html +=
          figure(heat_map(fmt::format("Dependency in the {}", to_string(stack.stack)),
                          "branch, the stack's input at the left",
                          {},
                          stack.dependency,
                          0.0,
                          high),
                 fmt::format("How much of each branch is left in what a sub-layer reads; a row a "
                             "sub-layer, the last the output. Strongest: {}.",
                             shown(high)));
    }
    html += gradient_map(diagnosis, stack.stack);
  }
  return "<div class=\"charts\">\n" + html + "</div>\n";
}

inline std::string html_table(const Diagnosis& diagnosis) {
  std::string html = "<div class=\"scroll\"><table><thead><tr><th>sub-layer</th>";
  for (const auto& column : columns_of({})) {
    std::string name = column.first;
    std::replace(name.begin(), name.end(), '_', ' ');
    html += "<th>" + name + "</th>";
  }
  html += "</tr></thead><tbody>\n";
  for (const auto& row : diagnosis.sublayers) {
    html += fmt::format("<tr><td>{} {} {}</td>",
                        to_string(row.position.stack),
                        static_cast<int64_t>(row.position.layer) + 1,
                        html_text(row.name));
    for (const auto& column : columns_of(row)) html += "<td>" + shown(column.second) + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

inline std::string html_of(const Diagnosis& diagnosis, const std::string& title) {
  const auto& options = diagnosis.options;
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>{0}</title>\n"
      "<style>{1}</style></head><body>\n<h1>{0}</h1>\n{2}"
      "<p class=\"note\">Adam at a learning rate of {3:g}, warm-up {4}, on one batch; {5} residual "
      "sub-layers.</p>\n<h2>Curves</h2>\n{6}<h2>Heat maps</h2>\n{7}<h2>Sub-layers</h2>\n{8}"
      "</body></html>\n",
      html_text(title),
      kPageStyle,
      html_verdict(diagnosis.verdict()),
      options.learning_rate(),
      options.warmup_steps() > 0 ? fmt::format("of {} updates", options.warmup_steps()) : "none",
      diagnosis.sublayers.size(),
      html_curves(diagnosis),
      html_maps(diagnosis),
      html_table(diagnosis));
}

}  // namespace evenkeel::detail
