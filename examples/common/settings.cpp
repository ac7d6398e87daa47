// SPDX-License-Identifier: MIT
#include "settings.hpp"

#include "json_text.hpp"
#include "numbers.hpp"
#include "text.hpp"

#include <evenkeel/core/nearest.hpp>
#include <evenkeel/residual/registry.hpp>

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace evenkeel::examples {

using nlohmann::json;

void set_max_steps(RunSettings& c, int64_t steps) {
  if (c.max_steps) return;
  c.max_steps = c.after_epochs > 0 || c.early_stopping > 0 ? 0 : steps;
}

void check_run_settings(const RunSettings& c, bool validates) {
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  expect_within(1, 100'000, "accumulate", c.accumulate);
  for (const auto& [name, count] : {std::pair{"max-steps", c.max_steps.value_or(0)},
                                    {"after-epochs", c.after_epochs},
                                    {"valid-every", c.valid_every},
                                    {"valid-epochs", c.valid_epochs},
                                    {"early-stopping", c.early_stopping},
                                    {"save-every", c.save_every},
                                    {"save-epochs", c.save_epochs}}) {
    expect_within(0, kAny, name, count);
  }
  expect_within(1, kAny, "log-every", c.log_every);
  expect_within(1, 10'000, "keep-last", c.keep_last);
  expect_within(0, 100, "divergence-retries", c.divergence_retries);
  expect_within(0, 1, "cuda-graphs", c.cuda_graphs);
  expect_within(0, 1024, "threads", c.threads);
  for (const auto& [name, number] : {std::pair{"max-seconds", c.max_seconds},
                                     {"valid-minutes", c.valid_minutes},
                                     {"early-stopping-epsilon", c.early_stopping_epsilon},
                                     {"save-minutes", c.save_minutes}}) {
    expect_not_negative(name, number);
  }
  expect(c.max_steps.value_or(0) > 0 || c.max_seconds > 0.0 || c.after_epochs > 0 ||
             c.early_stopping > 0,
         "max-steps",
         "an end: --max-steps, --after-epochs, --max-seconds or --early-stopping above 0",
         value_of(c.max_steps));
  expect(c.early_stopping == 0 || validates,
         "early-stopping",
         "text to validate on",
         c.early_stopping);
  expect_share("exponential-smoothing", c.exponential_smoothing);
  expect(c.dtype == "float32" || c.dtype == "bfloat16" || c.has_half_weights(),
         "dtype",
         "float32, bfloat16 or bfloat16-weights",
         c.dtype);
  expect(!c.run_dir.empty(), "run-dir", "a folder", c.run_dir);
}

void expect(bool ok, std::string_view setting, std::string_view expected, const json& got) {
  if (ok) return;
  // a word of the command line may be in any encoding
  const auto told = got.dump(-1, ' ', false, json::error_handler_t::replace);
  throw ConfigError(fmt::format("--{}: expected {}, but got {}", setting, expected, told));
}

void expect_within(int64_t least, int64_t most, const char* setting, int64_t value) {
  expect(value >= least, setting, fmt::format("at least {}", least), value);
  expect(value <= most, setting, fmt::format("at most {}", most), value);
}

void expect_positive(const char* setting, double value) {
  const bool ok = std::isfinite(value) && value > 0.0;
  expect(ok, setting, "a finite number above 0", value_of(value));
}

void expect_not_negative(const char* setting, double value) {
  const bool ok = std::isfinite(value) && value >= 0.0;
  expect(ok, setting, "a finite number from 0", value_of(value));
}

void expect_share(const char* setting, double value) {
  const bool ok = value >= 0.0 && value < 1.0;
  expect(ok, setting, "a number from 0 to below 1", value_of(value));
}

void expect_width(int64_t embed_dim, int64_t num_heads) {
  constexpr int64_t kMost = 1'000'000;
  expect(embed_dim > 0 && embed_dim <= kMost && embed_dim % 2 == 0 && embed_dim % num_heads == 0,
         "embed-dim",
         fmt::format("an even multiple of --num-heads {}", num_heads),
         embed_dim);
}

void expect_names(const char* setting, const std::vector<std::string>& files) {
  const bool named = std::find(files.begin(), files.end(), "") == files.end();
  expect(named, setting, "names of files", value_of(files));
}

const Scheme& scheme_of_option(const std::string& option, const std::string& name) {
  return found_for_option(option, [&]() -> const Scheme& { return find_scheme(name); });
}

json value_of(const std::string& text) {
  if (!find_broken_utf8(text)) return text;
  std::string hex;
  for (const unsigned char byte : text) hex += fmt::format("{:02x}", byte);
  return {{"hex", hex}};
}

json value_of(const std::vector<std::string>& texts) {
  auto list = json::array();
  for (const auto& text : texts) list.push_back(value_of(text));
  return list;
}

json value_of(int64_t number) {
  return number;
}

json value_of(double number) {
  return std::isfinite(number) ? json(number) : json(fmt::format("{}", number));
}

void read_setting(const json& value, int64_t& field) {
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  if (!value.is_number_integer()) throw WrongType{"an integer"};
  if (value.is_number_unsigned() && value.get<uint64_t>() > kMost) {
    throw WrongType{"an integer below 2^63"};
  }
  field = value.get<int64_t>();
}

void read_setting(const json& value, double& field) {
  if (!value.is_number()) throw WrongType{"a number"};
  field = value.get<double>();
}

void read_setting(const json& value, std::string& field) {
  if (value.is_object() && value.size() == 1 && value.contains("hex") && value["hex"].is_string()) {
    const auto hex = value["hex"].get<std::string>();
    const bool digits = hex.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!digits || hex.size() % 2 != 0) throw WrongType{"a string, or bytes in hex"};
    field.clear();
    for (size_t i = 0; i < hex.size(); i += 2) {
      field += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
    return;
  }
  if (!value.is_string()) throw WrongType{"a string"};
  field = value.get<std::string>();
}

void read_setting(const json& value, std::vector<std::string>& field) {
  field.clear();
  if (value.is_string()) return field.push_back(value.get<std::string>());
  if (!value.is_array()) throw WrongType{"a list of strings"};
  try {
    for (const auto& element : value) read_setting(element, field.emplace_back());
  } catch (const WrongType&) {
    throw WrongType{"a list of strings"};
  }
}

void parse_setting(const std::vector<std::string>& words, int64_t& field) {
  const auto number = parse_integer(words.back());
  if (!number) throw WrongType{"an integer below 2^63"};
  field = *number;
}

void parse_setting(const std::vector<std::string>& words, double& field) {
  const auto number = parse_real(words.back());
  if (!number) throw WrongType{"a finite number"};
  field = *number;
}

void parse_setting(const std::vector<std::string>& words, std::string& field) {
  field = words.back();
}

void parse_setting(const std::vector<std::string>& words, std::vector<std::string>& field) {
  field = words;
}

json settings_object(const std::string& text, const std::string& where) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    throw ConfigError(where + ": expected a JSON object of settings, but it is empty");
  }
  try {
    return parse_json(text);
  } catch (const JsonError& error) {
    throw ConfigError(where + ": " + error.what());
  }
}

void check_setting_names(const json& settings,
                         const std::vector<std::string>& names,
                         const std::string& where) {
  for (const auto& [name, value] : settings.items()) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    throw ConfigError(fmt::format("{}: there is no setting {}, the nearest is {}; there are {}",
                                  where,
                                  name,
                                  nearest(name, names),
                                  fmt::join(names, ", ")));
  }
}

}  // namespace evenkeel::examples
