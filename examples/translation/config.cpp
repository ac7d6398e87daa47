// SPDX-License-Identifier: MIT
#include "config.hpp"

#include <evenkeel/residual/registry.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <type_traits>

namespace evenkeel::translation {

namespace {

using nlohmann::json;

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

template <typename T>
json value_of(const T& field) {
  if constexpr (IsOptional<T>::value) {
    return field ? json(*field) : json(nullptr);
  } else {
    return json(field);
  }
}

template <typename T>
void read(const json& value, T& field) {
  if constexpr (IsOptional<T>::value) {
    if (value.is_null()) {
      field.reset();
    } else {
      field = value.get<typename T::value_type>();
    }
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    field = value.is_string() ? T{value.get<std::string>()} : value.get<T>();
  } else {
    // nlohmann-json would accept 2.7 for an int64_t and truncate it
    if (std::is_same_v<T, int64_t> && !value.is_number_integer()) throw ConfigError("an integer");
    field = value.get<T>();
  }
}

void expect(bool ok, std::string_view setting, std::string_view expected, const json& got) {
  if (ok) return;
  throw ConfigError(fmt::format("--{}: expected {}, but got {}", setting, expected, got.dump()));
}

}  // namespace

const Scheme& scheme_of_option(const std::string& option, const std::string& name) {
  try {
    return find_scheme(name);
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();  // "find_scheme: expected ..."
    throw ConfigError("--" + option + text.substr(text.find(':')));
  }
}

json to_json(const Config& config) {
  json result = json::object();
  for_each_setting(config, [&](const char* name, const auto& field, const char*, bool) {
    result[name] = value_of(field);
  });
  return result;
}

Config from_json(const json& settings, Config base) {
  if (!settings.is_object()) throw ConfigError("config: expected a JSON object of settings");
  std::vector<std::string> names;
  for_each_setting(base, [&](const char* name, auto& field, const char*, bool) {
    names.emplace_back(name);
    if (!settings.contains(name)) return;
    try {
      read(settings[name], field);
    } catch (const std::exception&) {
      throw ConfigError(
          fmt::format("config: expected {} as {}, but got {}",
                      name,
                      value_of(field).is_null() ? "number" : value_of(field).type_name(),
                      settings[name].dump()));
    }
  });
  for (const auto& [name, value] : settings.items()) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      throw ConfigError(fmt::format("config: there is no setting {}; there are {}",
                                    name,
                                    fmt::join(names, ", ")));
    }
  }
  return base;
}

Config resolved(Config c) {
  const bool warmup = scheme_of_option("scheme", c.scheme).warmup;
  if (!c.lr) c.lr = warmup ? 1e-3 : 5e-4;
  if (!c.warmup) c.warmup = warmup ? 4000 : 0;

  const auto at_least = [](int64_t least, const char* name, int64_t value) {
    expect(value >= least, name, fmt::format("at least {}", least), value);
  };
  at_least(1, "vocab-size", c.vocab_size);
  at_least(0, "vocab-sentences", c.vocab_sentences);
  at_least(1, "encoder-layers", c.encoder_layers);
  at_least(1, "decoder-layers", c.decoder_layers);
  at_least(1, "num-heads", c.num_heads);
  at_least(1, "dim-feedforward", c.dim_feedforward);
  at_least(1, "batch-tokens", c.batch_tokens);
  at_least(1, "accumulate", c.accumulate);
  at_least(2, "max-length", c.max_length);
  at_least(1, "decay-period", c.decay_period);
  at_least(0, "warmup", *c.warmup);
  at_least(0, "max-steps", c.max_steps);
  at_least(1, "valid-every", c.valid_every);
  at_least(0, "valid-sentences", c.valid_sentences);
  at_least(1, "log-every", c.log_every);
  at_least(1, "save-every", c.save_every);
  at_least(0, "threads", c.threads);
  expect(c.embed_dim > 0 && c.embed_dim % 2 == 0 && c.embed_dim % c.num_heads == 0,
         "embed-dim",
         fmt::format("an even multiple of --num-heads {}", c.num_heads),
         c.embed_dim);
  expect(*c.lr > 0.0, "lr", "a number above 0", *c.lr);
  expect(c.max_seconds >= 0.0, "max-seconds", "0 or more", c.max_seconds);
  expect(c.max_steps > 0 || c.max_seconds > 0.0,
         "max-steps",
         "an end: --max-steps or --max-seconds above 0",
         c.max_steps);
  for (const auto& [name, share] : {std::pair{"dropout", c.dropout},
                                    {"attention-dropout", c.attention_dropout},
                                    {"activation-dropout", c.activation_dropout},
                                    {"label-smoothing", c.label_smoothing}}) {
    expect(share >= 0.0 && share < 1.0, name, "a share from 0 to below 1", share);
  }
  expect(c.dtype == "float32" || c.dtype == "bfloat16", "dtype", "float32 or bfloat16", c.dtype);
  expect(!c.source.empty(), "source", "a file of training text", c.source);
  expect(c.source.size() == c.target.size(), "target", "as many files as --source", c.target);
  expect(c.valid_source.size() == c.valid_target.size(),
         "valid-target",
         "as many files as --valid-source",
         c.valid_target);
  expect(!c.run_dir.empty(), "run-dir", "a folder", c.run_dir);
  return c;
}

void check_resumable(const Config& run, const Config& asked) {
  const auto now = to_json(asked);
  for_each_setting(run, [&](const char* name, const auto& field, const char*, bool may_change) {
    if (may_change || value_of(field) == now[name]) return;
    throw ConfigError(fmt::format("--{}: expected {}, with which the run began, but got {}",
                                  name,
                                  value_of(field).dump(),
                                  now[name].dump()));
  });
}

}  // namespace evenkeel::translation
