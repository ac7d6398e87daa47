// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/diagnosis.hpp>
#include <evenkeel/fold/detail/json_text.hpp>

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// A value as JSON; a number that is not finite is null, since JSON has none.
inline std::string to_json(double number) {
  return std::isfinite(number) ? fmt::format("{}", number) : "null";
}
inline std::string to_json(int64_t number) {
  return fmt::format("{}", number);
}
inline std::string to_json(bool value) {
  return value ? "true" : "false";
}
inline std::string to_json(const std::string& text) {
  return json_string(text);
}
inline std::string to_json(const char* text) {
  return json_string(text);
}
template <typename T>
std::string to_json(const std::vector<T>& values) {
  std::string json;
  for (const auto& value : values) json += (json.empty() ? "" : ", ") + to_json(value);
  return "[" + json + "]";
}

/// An object of values that are JSON already.
inline std::string json_object(
    std::initializer_list<std::pair<std::string_view, std::string>> members) {
  std::string json;
  for (const auto& [name, value] : members) {
    json += fmt::format("{}\"{}\": {}", json.empty() ? "" : ", ", name, value);
  }
  return "{" + json + "}";
}

/// An array of objects, one a line.
template <typename T, typename Describe>
std::string json_lines(const std::vector<T>& values, Describe&& describe) {
  std::string json;
  for (const auto& value : values) {
    json += (json.empty() ? "\n    " : ",\n    ") + describe(value);
  }
  return "[" + json + "\n  ]";
}

inline std::string json_of(const SublayerDiagnosis& row) {
  return json_object({{"name", to_json(row.name)},
                      {"stack", to_json(to_string(row.position.stack))},
                      {"index", to_json(row.position.index)},
                      {"layer", to_json(static_cast<int64_t>(row.position.layer))},
                      {"kind", to_json(to_string(static_cast<SublayerKind>(row.position.kind)))},
                      {"input_variance", to_json(row.input_variance)},
                      {"branch_variance", to_json(row.branch_variance)},
                      {"shortcut_gain", to_json(row.shortcut_gain)},
                      {"branch_gain", to_json(row.branch_gain)},
                      {"norm_at_sum", to_json(row.norm_at_sum)},
                      {"has_norm", to_json(row.has_norm)},
                      {"share", to_json(row.share)},
                      {"output_change", to_json(row.output_change)},
                      {"step_change", to_json(row.step_change)},
                      {"gradient_norm", to_json(row.gradient_norm)},
                      {"rms", to_json(row.output.rms)},
                      {"kurtosis", to_json(row.output.kurtosis)},
                      {"outlier_ratio", to_json(row.output.outlier_ratio)},
                      {"feature_correlation", to_json(row.output.feature_correlation)},
                      {"token_correlation", to_json(row.output.token_correlation)},
                      {"trial_token_correlation", to_json(row.trial_token_correlation)},
                      {"near_overflow", to_json(row.output.near_overflow)},
                      {"attention_entropy", to_json(row.attention_entropy)},
                      {"dead_units", to_json(row.dead_units)}});
}

inline std::string json_of(const Verdict& verdict) {
  return json_object({{"outcome", to_json(to_string(verdict.outcome))},
                      {"confidence", to_json(verdict.confidence)},
                      {"summary", to_json(verdict.summary)},
                      {"where", to_json(verdict.where)},
                      {"because", to_json(verdict.because)},
                      {"advice", to_json(verdict.advice)}});
}

inline std::string json_of(const Diagnosis& diagnosis) {
  const auto& options = diagnosis.options;
  const auto stacks = json_lines(diagnosis.stacks, [](const StackDiagnosis& stack) {
    return json_object({{"stack", to_json(to_string(stack.stack))},
                        {"num_res_layers", to_json(stack.num_res_layers)},
                        {"sum_of_shares", to_json(stack.sum_of_shares)},
                        {"output_change", to_json(stack.output_change)},
                        {"step_change", to_json(stack.step_change)},
                        {"as_post_norm", to_json(stack.as_post_norm)},
                        {"dependency", to_json(stack.dependency)}});
  });
  const auto matrices = json_lines(diagnosis.matrices, [](const MatrixDiagnosis& matrix) {
    return json_object({{"name", to_json(matrix.name)},
                        {"role", to_json(to_string(matrix.role))},
                        {"stack", to_json(to_string(matrix.stack))},
                        {"layer", to_json(matrix.layer)},
                        {"rms", to_json(matrix.rms)},
                        {"gradient_norm", to_json(matrix.gradient_norm)},
                        {"update_ratio", to_json(matrix.update_ratio)}});
  });
  const auto gains = json_lines(diagnosis.gains, [](const GainDiagnosis& gain) {
    return json_object({{"name", to_json(gain.name)},
                        {"mean", to_json(gain.mean)},
                        {"smallest", to_json(gain.smallest)},
                        {"largest", to_json(gain.largest)}});
  });
  const auto trial = json_lines(diagnosis.trial, [](const TrialStep& step) {
    return json_object({{"learning_rate", to_json(step.learning_rate)},
                        {"loss", to_json(step.loss)},
                        {"gradient_norm", to_json(step.gradient_norm)},
                        {"token_correlation", to_json(step.token_correlation)}});
  });
  const auto how = json_object({{"learning_rate", to_json(options.learning_rate())},
                                {"warmup_steps", to_json(options.warmup_steps())},
                                {"beta1", to_json(options.beta1())},
                                {"beta2", to_json(options.beta2())},
                                {"eps", to_json(options.eps())},
                                {"clip_norm", to_json(options.clip_norm())},
                                {"trial_steps", to_json(options.trial_steps())},
                                {"magnitude", to_json(options.magnitude())}});
  return fmt::format(
      "{{\n  \"verdict\": {},\n  \"options\": {},\n  \"trial\": {},\n  \"stacks\": {},\n"
      "  \"sublayers\": {},\n  \"matrices\": {},\n  \"gains\": {}\n}}\n",
      json_of(diagnosis.verdict()),
      how,
      trial,
      stacks,
      json_lines(diagnosis.sublayers, [](const SublayerDiagnosis& row) { return json_of(row); }),
      matrices,
      gains);
}

}  // namespace evenkeel::detail
