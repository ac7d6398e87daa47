// SPDX-License-Identifier: MIT
#include "config.hpp"

#include "json_text.hpp"
#include "numbers.hpp"
#include "parallel_text.hpp"

#include <evenkeel/core/nearest.hpp>
#include <evenkeel/init/inits.hpp>
#include <evenkeel/residual/branch_norm.hpp>
#include <evenkeel/residual/registry.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
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

// Names of files may have any bytes, JSON has UTF-8: another encoding is written as {"hex": "..."}.
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

template <typename T>
json value_of(const T& field) {
  if constexpr (IsOptional<T>::value) {
    return field ? json(*field) : json(nullptr);
  } else {
    return json(field);
  }
}

// A value of another type, or one that does not fit: what was expected instead.
struct WrongType {
  const char* expected;
};

void read(const json& value, int64_t& field) {
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  if (!value.is_number_integer()) throw WrongType{"an integer"};
  if (value.is_number_unsigned() && value.get<uint64_t>() > kMost) {
    throw WrongType{"an integer below 2^63"};
  }
  field = value.get<int64_t>();
}

void read(const json& value, double& field) {
  if (!value.is_number()) throw WrongType{"a number"};
  field = value.get<double>();
}

void read(const json& value, std::string& field) {
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

void read(const json& value, std::vector<std::string>& field) {
  field.clear();
  if (value.is_string()) return field.push_back(value.get<std::string>());
  if (!value.is_array()) throw WrongType{"a list of strings"};
  try {
    for (const auto& element : value) read(element, field.emplace_back());
  } catch (const WrongType&) {
    throw WrongType{"a list of strings"};
  }
}

template <typename T>
void read(const json& value, std::optional<T>& field) {
  field.reset();
  if (!value.is_null()) read(value, field.emplace());
}

// From a word of the command line.
void parse(const std::string& word, int64_t& field) {
  const auto number = parse_integer(word);
  if (!number) throw WrongType{"an integer below 2^63"};
  field = *number;
}

void parse(const std::string& word, double& field) {
  const auto number = parse_real(word);
  if (!number) throw WrongType{"a finite number"};
  field = *number;
}

void parse(const std::string& word, std::string& field) {
  field = word;
}

template <typename T>
void parse(const std::string& word, std::optional<T>& field) {
  parse(word, field.emplace());
}

json shown(double value) {
  return std::isfinite(value) ? json(value) : json(fmt::format("{}", value));
}

void expect(bool ok, std::string_view setting, std::string_view expected, const json& got) {
  if (ok) return;
  // a word of the command line may be in any encoding
  const auto told = got.dump(-1, ' ', false, json::error_handler_t::replace);
  throw ConfigError(fmt::format("--{}: expected {}, but got {}", setting, expected, told));
}

// What `find` returns, whose error "find_scheme: expected ..." becomes one of the option.
template <typename Find>
decltype(auto) found(const std::string& option, Find&& find) {
  try {
    return find();
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    throw ConfigError("--" + option + text.substr(text.find(':')));
  }
}

}  // namespace

const Scheme& scheme_of_option(const std::string& option, const std::string& name) {
  return found(option, [&]() -> const Scheme& { return find_scheme(name); });
}

Scheme configured_scheme(const Config& config) {
  auto scheme = scheme_of_option("scheme", config.scheme);
  if (config.scheme == BranchNorm::kName) scheme = branch_norm(config.branchnorm_steps);
  if (config.init.empty()) return scheme;
  return with_init(std::move(scheme), found("init", [&] { return find_init(config.init); }));
}

json to_json(const Config& config) {
  json result = json::object();
  for_each_setting(config, [&](const char* name, const auto& field, const char*, bool) {
    result[name] = value_of(field);
  });
  return result;
}

Config from_json(const json& settings, Config base, const std::string& where) {
  if (!settings.is_object()) throw ConfigError(where + ": expected a JSON object of settings");
  std::vector<std::string> names;
  for_each_setting(base, [&](const char* name, auto& field, const char*, bool) {
    names.emplace_back(name);
    if (!settings.contains(name)) return;
    try {
      read(settings[name], field);
    } catch (const WrongType& wrong) {
      throw ConfigError(fmt::format("{}: expected {} as {}, but got {}",
                                    where,
                                    name,
                                    wrong.expected,
                                    settings[name].dump()));
    }
  });
  for (const auto& [name, value] : settings.items()) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      throw ConfigError(fmt::format("{}: there is no setting {}, the nearest is {}; there are {}",
                                    where,
                                    name,
                                    nearest(name, names),
                                    fmt::join(names, ", ")));
    }
  }
  return base;
}

Config config_from_text(const std::string& text, const std::string& where, Config base) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    throw ConfigError(where + ": expected a JSON object of settings, but it is empty");
  }
  json settings;
  try {
    settings = parse_json(text);
  } catch (const JsonError& error) {
    throw ConfigError(where + ": " + error.what());
  }
  return from_json(settings, std::move(base), where);
}

void set_option(Config& config, const std::string& name, const std::vector<std::string>& words) {
  for_each_setting(config, [&](const char* setting, auto& field, const char*, bool) {
    if (name != setting) return;
    try {
      if constexpr (std::is_same_v<std::decay_t<decltype(field)>, std::vector<std::string>>) {
        field = words;
      } else {
        parse(words.back(), field);
      }
    } catch (const WrongType& wrong) {
      throw ConfigError(
          fmt::format("--{}: expected {}, but got {}", name, wrong.expected, words.back()));
    }
  });
}

Config resolved(Config c) {
  expect(c.branchnorm_steps >= 1, "branchnorm-steps", "at least 1", c.branchnorm_steps);
  const auto scheme = configured_scheme(c);
  expect(c.admin_profile.empty() || scheme.profiled,
         "admin-profile",
         "--scheme admin-profiled",
         c.scheme);
  const bool warmup = scheme.warmup;
  if (!c.lr) c.lr = warmup ? 1e-3 : 5e-4;
  if (!c.warmup) c.warmup = warmup ? 4000 : 0;

  const auto within = [](int64_t least, int64_t most, const char* name, int64_t value) {
    expect(value >= least, name, fmt::format("at least {}", least), value);
    expect(value <= most, name, fmt::format("at most {}", most), value);
  };
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMillion = 1'000'000;
  within(5, kMillion, "vocab-size", c.vocab_size);
  within(0, kAny, "vocab-sentences", c.vocab_sentences);
  within(0, 1, "byte-fallback", c.byte_fallback);
  if (!c.source_vocabulary.empty() || !c.target_vocabulary.empty()) c.separate_vocabularies = 1;
  within(0, 1, "separate-vocabularies", c.separate_vocabularies);
  expect(c.separate_vocabularies == 0 || c.vocabulary.empty(),
         "vocabulary",
         "none beside separate vocabularies",
         c.vocabulary);
  expect(c.vocab_type == "unigram" || c.vocab_type == "bpe",
         "vocab-type",
         "unigram or bpe",
         c.vocab_type);
  const std::vector<std::string> normalizations{"identity",
                                                "nmt_nfkc",
                                                "nfkc",
                                                "nmt_nfkc_cf",
                                                "nfkc_cf"};
  expect(std::find(normalizations.begin(), normalizations.end(), c.normalization) !=
             normalizations.end(),
         "normalization",
         fmt::format("one of {}", fmt::join(normalizations, ", ")),
         c.normalization);
  expect(c.character_coverage >= 0.98 && c.character_coverage <= 1.0,
         "character-coverage",
         "a number from 0.98 to 1",
         shown(c.character_coverage));
  within(1, 10'000, "encoder-layers", c.encoder_layers);
  within(1, 10'000, "decoder-layers", c.decoder_layers);
  within(1, kMillion, "num-heads", c.num_heads);
  within(1, 10 * kMillion, "dim-feedforward", c.dim_feedforward);
  within(1, 1000 * kMillion, "batch-tokens", c.batch_tokens);
  within(1, 100'000, "accumulate", c.accumulate);
  within(2, 100'000, "max-length", c.max_length);
  within(1, kAny, "decay-period", c.decay_period);
  within(0, kAny, "warmup", *c.warmup);
  within(0, kAny, "max-steps", c.max_steps);
  within(1, kAny, "valid-every", c.valid_every);
  within(0, kAny, "valid-sentences", c.valid_sentences);
  within(1, kAny, "log-every", c.log_every);
  within(1, kAny, "save-every", c.save_every);
  within(1, 10'000, "keep-last", c.keep_last);
  within(0, 100, "divergence-retries", c.divergence_retries);
  within(0, 1024, "threads", c.threads);
  expect(c.embed_dim > 0 && c.embed_dim <= kMillion && c.embed_dim % 2 == 0 &&
             c.embed_dim % c.num_heads == 0,
         "embed-dim",
         fmt::format("an even multiple of --num-heads {}", c.num_heads),
         c.embed_dim);
  const auto positive = [](const char* name, double value) {
    expect(std::isfinite(value) && value > 0.0, name, "a finite number above 0", shown(value));
  };
  const auto not_negative = [](const char* name, double value) {
    expect(std::isfinite(value) && value >= 0.0, name, "a finite number from 0", shown(value));
  };
  positive("lr", *c.lr);
  positive("eps", c.eps);
  not_negative("weight-decay", c.weight_decay);
  not_negative("clip-norm", c.clip_norm);
  not_negative("max-seconds", c.max_seconds);
  not_negative("save-minutes", c.save_minutes);
  expect(c.max_steps > 0 || c.max_seconds > 0.0,
         "max-steps",
         "an end: --max-steps or --max-seconds above 0",
         c.max_steps);
  for (const auto& [name, share] : {std::pair{"dropout", c.dropout},
                                    {"attention-dropout", c.attention_dropout},
                                    {"activation-dropout", c.activation_dropout},
                                    {"label-smoothing", c.label_smoothing},
                                    {"beta1", c.beta1},
                                    {"beta2", c.beta2}}) {
    expect(share >= 0.0 && share < 1.0, name, "a number from 0 to below 1", shown(share));
  }
  // else one gradient after small ones makes a step without bound
  expect(c.beta2 >= c.beta1 * c.beta1,
         "beta2",
         fmt::format("at least the square of --beta1 {}", c.beta1),
         c.beta2);
  expect(c.dtype == "float32" || c.dtype == "bfloat16", "dtype", "float32 or bfloat16", c.dtype);
  expect(!c.source.empty(), "source", "a file of training text", value_of(c.source));
  expect(c.source.size() == c.target.size(),
         "target",
         "as many files as --source",
         value_of(c.target));
  expect(c.valid_source.size() == c.valid_target.size(),
         "valid-target",
         "as many files as --valid-source",
         value_of(c.valid_target));
  for (const auto& [name, files] : {std::pair{"source", c.source},
                                    {"target", c.target},
                                    {"valid-source", c.valid_source},
                                    {"valid-target", c.valid_target}}) {
    const bool named = std::find(files.begin(), files.end(), "") == files.end();
    expect(named, name, "names of files", value_of(files));
  }
  expect(!c.run_dir.empty(), "run-dir", "a folder", c.run_dir);
  return c;
}

VocabularyOptions vocabulary_options(const Config& config) {
  VocabularyOptions options;
  options.model = config.vocab_type == "bpe" ? PieceModel::kBpe : PieceModel::kUnigram;
  options.character_coverage = config.character_coverage;
  options.byte_fallback = config.byte_fallback != 0;
  options.normalization = config.normalization;
  options.max_sentences = config.vocab_sentences;
  return options;
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
