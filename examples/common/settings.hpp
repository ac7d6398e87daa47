// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::examples {

/// An invalid setting; the message names it, the expected values and the one given.
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Settings that every training program has. A program's own settings derive from them.
struct RunSettings {
  std::optional<int64_t> max_steps;  ///< Updates; 0 for no limit; see `set_max_steps()`.
  int64_t after_epochs = 0;          ///< Epochs; 0 for no limit.
  double max_seconds = 0.0;          ///< Wall time; 0 for no limit.
  int64_t valid_every = 500;         ///< Updates from one validation to the next; 0: never.
  int64_t valid_epochs = 0;          ///< Epochs, likewise.
  double valid_minutes = 0.0;        ///< Minutes, likewise.
  int64_t early_stopping = 0;        ///< Validations without a better one, then the end; 0: never.
  double early_stopping_epsilon = 0.0;  ///< Better is: by more than that.
  int64_t log_every = 50;               ///< Updates from one line to the next.
  int64_t save_every = 1000;            ///< Updates from one checkpoint to the next; 0: never.
  int64_t save_epochs = 0;              ///< Epochs, likewise.
  double save_minutes = 10.0;           ///< Minutes, likewise.
  int64_t keep_last = 2;                ///< Checkpoints kept: the last and those before it.
  int64_t divergence_retries = 2;       ///< Times that a diverged run goes back, at half the rate.
  int64_t accumulate = 1;               ///< Batches per update.
  std::string device = "auto";          ///< auto, cpu, cuda or cuda:N.
  int64_t cuda_graphs = 1;              ///< 1: on CUDA, a training step is one graph a shape.
  std::string dtype = "float32";        ///< float32, bfloat16 or bfloat16-weights.
  int64_t threads = 0;                  ///< Threads on the CPU; 0 for LibTorch's default.
  int64_t seed = 1;                     ///< Seed of weights, batches and dropout.
  double exponential_smoothing = 0.0;   ///< Share of new weights in their averages; 0: none.
  std::string init_from;                ///< A trained model with whose weights the run begins.
  std::string tensorboard_logdir;       ///< Folder of an event file; empty: none.
  std::string run_dir;                  ///< Folder of checkpoints, log and config.
  bool quiet = false;    ///< Print nothing but errors. Not stored: it is no setting of the run.
  bool dry_run = false;  ///< Some updates, nothing written. Not stored either.
  bool doctor = false;   ///< A diagnosis before training and at validations. Not stored either.

  /// Whether the model's weights are bfloat16, with float32 copies in the optimizer.
  bool has_half_weights() const { return dtype == "bfloat16-weights"; }
  /// Whether the training runs under autocast to bfloat16.
  bool has_autocast() const { return dtype == "bfloat16"; }
  /// Whether products are computed in bfloat16, one way or the other.
  bool computes_in_half() const { return has_autocast() || has_half_weights(); }
};

/// Calls `visit(name, field, help, may_change)` for the settings of a run's length. `may_change`
/// says that a resumed run may take another value than the run had.
template <typename AnySettings, typename Visit>
void for_each_length_setting(AnySettings& c, Visit&& visit) {
  visit("max-steps",
        c.max_steps,
        "updates; 0 for no limit, as by default with --after-epochs or --early-stopping",
        true);
  visit("after-epochs", c.after_epochs, "epochs; 0 for no limit", true);
  visit("max-seconds", c.max_seconds, "wall time of the training; 0 for no limit", true);
  visit("valid-every", c.valid_every, "updates between validations; 0: updates do not count", true);
  visit("valid-epochs", c.valid_epochs, "epochs between validations; 0: epochs do not count", true);
  visit("valid-minutes",
        c.valid_minutes,
        "minutes between validations; 0: time does not count",
        true);
  visit("early-stopping",
        c.early_stopping,
        "validations in a row that are no better, after which the run ends; 0: it does not",
        true);
  visit("early-stopping-epsilon",
        c.early_stopping_epsilon,
        "a validation is better by more than this",
        true);
}

/// The same for the settings of log, checkpoints, device and folder.
template <typename AnySettings, typename Visit>
void for_each_run_setting(AnySettings& c, Visit&& visit) {
  visit("log-every", c.log_every, "updates between lines", true);
  visit("save-every", c.save_every, "updates between checkpoints; 0: updates do not count", true);
  visit("save-epochs", c.save_epochs, "epochs between checkpoints; 0: epochs do not count", true);
  visit("save-minutes",
        c.save_minutes,
        "minutes between checkpoints; 0: time does not count",
        true);
  visit("keep-last", c.keep_last, "checkpoints kept, the last and those before it", true);
  visit("divergence-retries",
        c.divergence_retries,
        "times that a diverged run goes back to its last checkpoint, at half the rate",
        true);
  visit("exponential-smoothing",
        c.exponential_smoothing,
        "share of new weights in averages that are validated and kept, such as 1e-4; 0: none",
        false);
  visit("device", c.device, "auto, cpu, cuda or cuda:N", true);
  visit("cuda-graphs",
        c.cuda_graphs,
        "1: on CUDA, a training step is one graph for each shape of a batch; 0: it is not",
        true);
  visit("dtype",
        c.dtype,
        "float32; bfloat16 by autocast; or bfloat16-weights, with float32 copies in the optimizer: "
        "the fastest on CUDA",
        false);
  visit("threads", c.threads, "threads on the CPU; 0 for LibTorch's default", true);
  visit("seed", c.seed, "of weights, batches and dropout", false);
  visit("init-from",
        c.init_from,
        "run or checkpoint with whose weights this run begins; the model is that one's",
        true);
  visit("tensorboard-logdir",
        c.tensorboard_logdir,
        "folder of an event file that TensorBoard reads; none: no such file",
        true);
  visit("run-dir", c.run_dir, "folder of checkpoints, log and config", true);
}

/// Sets max_steps to `steps` where it is not said, or to no limit where --after-epochs or
/// --early-stopping ends the run.
void set_max_steps(RunSettings& settings, int64_t steps);

/// Throws ConfigError for run settings that are out of range, and for an end that needs
/// validations, where `validates` says that there are none.
void check_run_settings(const RunSettings& settings, bool validates);

/// Throws ConfigError, "--setting: expected ..., but got ...", unless `ok`.
void expect(bool ok,
            std::string_view setting,
            std::string_view expected,
            const nlohmann::json& got);

/// Throws ConfigError unless the value is in this range.
void expect_within(int64_t least, int64_t most, const char* setting, int64_t value);

/// Throws ConfigError unless the value is finite and above 0.
void expect_positive(const char* setting, double value);

/// Throws ConfigError unless the value is finite and at least 0.
void expect_not_negative(const char* setting, double value);

/// Throws ConfigError unless the value is in [0, 1).
void expect_share(const char* setting, double value);

/// The value of that name; ConfigError lists all names.
template <typename Value>
Value value_by_name(const char* setting,
                    const std::string& name,
                    const std::vector<std::pair<std::string, Value>>& values) {
  std::string names;
  for (const auto& [each, value] : values) {
    if (name == each) return value;
    names += (names.empty() ? "" : &each == &values.back().first ? " or " : ", ") + each;
  }
  expect(false, setting, names, name);
  return values.front().second;
}

/// Throws ConfigError for a list in which a name is empty.
void expect_names(const char* setting, const std::vector<std::string>& files);

/// Throws ConfigError unless --embed-dim is a width that --num-heads and sinusoids divide.
void expect_width(int64_t embed_dim, int64_t num_heads);

/// Throws ConfigError for settings of Adam and of clipping that are out of range.
template <typename Config>
void check_adam_settings(const Config& c) {
  expect_share("beta1", c.beta1);
  expect_share("beta2", c.beta2);
  // else one gradient after small ones makes a step without bound
  expect(c.beta2 >= c.beta1 * c.beta1,
         "beta2",
         fmt::format("at least the square of --beta1 {}", c.beta1),
         c.beta2);
  expect_positive("eps", c.eps);
  expect_not_negative("weight-decay", c.weight_decay);
  expect_not_negative("clip-norm", c.clip_norm);
}

/// What `find` returns. Its c10::Error "find_scheme: expected ..." becomes a ConfigError of the
/// option.
template <typename Find>
decltype(auto) found_for_option(const std::string& option, Find&& find) {
  try {
    return find();
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    throw ConfigError("--" + option + text.substr(text.find(':')));
  }
}

/// Returns the scheme of the given name. Throws ConfigError, which names the option, if there is
/// none.
const Scheme& scheme_of_option(const std::string& option, const std::string& name);

/// A setting as JSON. A NaN or infinity is a string. Names of files may have any bytes: those that
/// are not UTF-8 become {"hex": "..."}.
nlohmann::json value_of(const std::string& text);
nlohmann::json value_of(const std::vector<std::string>& texts);
nlohmann::json value_of(int64_t number);
nlohmann::json value_of(double number);
template <typename T>
nlohmann::json value_of(const std::optional<T>& field) {
  return field ? value_of(*field) : nlohmann::json(nullptr);
}

/// A value of another type, or one that does not fit: what was expected instead.
struct WrongType {
  const char* expected;
};

/// Reads a setting from JSON. Throws WrongType.
void read_setting(const nlohmann::json& value, int64_t& field);
void read_setting(const nlohmann::json& value, double& field);
void read_setting(const nlohmann::json& value, std::string& field);
void read_setting(const nlohmann::json& value, std::vector<std::string>& field);
template <typename T>
void read_setting(const nlohmann::json& value, std::optional<T>& field) {
  field.reset();
  if (!value.is_null()) read_setting(value, field.emplace());
}

/// Reads a setting from words of the command line: numbers exactly, to their end. Throws WrongType.
void parse_setting(const std::vector<std::string>& words, int64_t& field);
void parse_setting(const std::vector<std::string>& words, double& field);
void parse_setting(const std::vector<std::string>& words, std::string& field);
void parse_setting(const std::vector<std::string>& words, std::vector<std::string>& field);
template <typename T>
void parse_setting(const std::vector<std::string>& words, std::optional<T>& field) {
  parse_setting(words, field.emplace());
}

/// The JSON object of a text. Throws ConfigError, which begins with `where`.
nlohmann::json settings_object(const std::string& text, const std::string& where);

/// Throws ConfigError for a name in `settings` that is none of `names`.
void check_setting_names(const nlohmann::json& settings,
                         const std::vector<std::string>& names,
                         const std::string& where);

// The following work on any `Config` that has `for_each_setting(config, visit)`, found by
// argument-dependent lookup; `visit(name, field, help, may_change)` as above.

/// Every setting as JSON, under the names of the options.
template <typename Config>
nlohmann::json settings_to_json(const Config& config) {
  auto result = nlohmann::json::object();
  for_each_setting(config, [&](const char* name, const auto& field, const char*, bool) {
    result[name] = value_of(field);
  });
  return result;
}

/// `base` with the settings that `settings` has. Throws ConfigError, which begins with `where`, for
/// a name or type that is wrong.
template <typename Config>
Config settings_from_json(const nlohmann::json& settings, Config base, const std::string& where) {
  if (!settings.is_object()) throw ConfigError(where + ": expected a JSON object of settings");
  std::vector<std::string> names;
  for_each_setting(base, [&](const char* name, auto& field, const char*, bool) {
    names.emplace_back(name);
    if (!settings.contains(name)) return;
    try {
      read_setting(settings[name], field);
    } catch (const WrongType& wrong) {
      throw ConfigError(fmt::format("{}: expected {} as {}, but got {}",
                                    where,
                                    name,
                                    wrong.expected,
                                    settings[name].dump()));
    }
  });
  check_setting_names(settings, names, where);
  return base;
}

/// Sets one setting as the command line has it. Throws ConfigError.
template <typename Config>
void set_setting(Config& config, const std::string& name, const std::vector<std::string>& words) {
  for_each_setting(config, [&](const char* setting, auto& field, const char*, bool) {
    if (name != setting) return;
    try {
      parse_setting(words, field);
    } catch (const WrongType& wrong) {
      throw ConfigError(
          fmt::format("--{}: expected {}, but got {}", name, wrong.expected, words.back()));
    }
  });
}

/// Throws ConfigError if a resumed run would differ from the one it goes on from.
template <typename Config>
void check_resumable(const Config& run, const Config& asked) {
  const auto now = settings_to_json(asked);
  for_each_setting(run, [&](const char* name, const auto& field, const char*, bool may_change) {
    const auto before = value_of(field);
    if (may_change || before == now[name]) return;
    throw ConfigError(fmt::format("--{}: expected {}, with which the run began, but got {}",
                                  name,
                                  before.dump(),
                                  now[name].dump()));
  });
}

}  // namespace evenkeel::examples
