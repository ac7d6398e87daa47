// SPDX-License-Identifier: MIT
#pragma once

#include "average.hpp"
#include "files.hpp"
#include "initial_model.hpp"
#include "options.hpp"
#include "run_files.hpp"
#include "settings.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <vector>

namespace evenkeel::examples {

/// Options for the settings of a `Config`, and what the command line says of them. See
/// `settings_to_json` for what a Config is.
template <typename Config>
class SettingWords {
 public:
  /// Adds an option for every setting that is wanted.
  template <typename Wanted>
  void add_to(CLI::App& command, const Wanted& wanted) {
    const Config defaults;
    for_each_setting(defaults, [&](const char* name, const auto& field, const char* help, bool) {
      if (!wanted(name)) return;
      using Field = std::decay_t<decltype(field)>;
      constexpr bool kList = std::is_same_v<Field, std::vector<std::string>>;
      const auto other_name = std::string(name) == "lr" ? ",--learning-rate" : "";
      auto* option = command.add_option("--" + std::string(name) + other_name, words_[name], help);
      if (!kList) option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::Throw);
      if constexpr (std::is_arithmetic_v<Field>) {
        option->default_str(CLI::detail::to_string(field));
        option->type_name(std::is_same_v<Field, double> ? "FLOAT" : "INT");
      }
    });
  }

  /// `config` with what was said.
  Config over(Config config) const {
    for (const auto& [name, words] : words_) {
      if (!words.empty()) set_setting(config, name, words);
    }
    return config;
  }

 private:
  std::map<std::string, std::vector<std::string>> words_;
};

/// A subcommand that lists what has a name, a title and a summary: schemes, inits.
template <typename Named>
struct ListCommand {
  ListCommand(CLI::App& app, const char* name, const char* help, const std::vector<Named>& all_)
      : all(all_), command(app.add_subcommand(name, help)) {
    command->add_flag("--json", json, "print JSON, one object per line");
  }

  void run() const {
    size_t name = 0;
    size_t title = 0;
    for (const auto& each : all) {
      name = std::max(name, each.name.size());
      title = std::max(title, each.title.size());
    }
    std::string text;
    for (const auto& each : all) {
      const nlohmann::json object{{"name", each.name},
                                  {"title", each.title},
                                  {"summary", each.summary}};
      text +=
          json
              ? object.dump() + "\n"
              : fmt::format("{:{}}  {:{}}  {}\n", each.name, name, each.title, title, each.summary);
    }
    write_file("", text);
  }

  const std::vector<Named>& all;
  CLI::App* command;
  bool json = false;
};

/// `train`: what the command line, --config and a checkpoint say, the first the strongest. Of the
/// checkpoint that --init-from names, that is what describes its model.
template <typename Config>
struct TrainCommand {
  explicit TrainCommand(CLI::App& app)
      : command(app.add_subcommand("train", "train a model; see also --config")) {
    command->add_option("--config", file, "JSON of settings, as a run writes it");
    command->add_flag("--resume", resume, "go on from the last checkpoint in --run-dir");
    command->add_flag("--quiet", quiet, "print nothing but errors; the log has it all");
    command->add_flag("--dry-run",
                      dry_run,
                      "read, build, do some updates, say what that takes; write nothing");
    command->add_flag("--doctor",
                      doctor,
                      "say first what the training will come to; log what is measured for that at "
                      "each validation");
    command->add_flag("--accept-changed-text",
                      accept_changed_text,
                      "resume with another training text, from the next epoch");
    words.add_to(*command, [](const std::string&) { return true; });
  }

  /// `stored` reads the config of a checkpoint; `read_others` as `load_initial_model` has it.
  template <typename Stored>
  Config config(const Stored& stored, ReadOthers read_others = nullptr) const {
    if (!resume) {
      auto settings = over({});
      const auto initial = load_initial_model(settings.init_from, read_others);
      if (!initial) return settings;
      return over(with_model_of(Config(), stored(initial->checkpoint, initial->file)));
    }
    const auto run_dir = words.over({}).run_dir;
    if (run_dir.empty()) throw ConfigError("--run-dir: expected a folder to resume, but got none");
    const RunFiles files(run_dir);
    auto settings = stored(load_last(files), files.last);
    settings.run_dir = run_dir;
    return said_over(settings);  // those of a task are in it, with what was said then
  }

  /// `settings` with what is said.
  Config over(const Config& settings) const {
    return said_over(with_preset(settings, said_over(settings)));
  }

  Config said_over(Config settings) const {
    settings.quiet = quiet;
    settings.dry_run = dry_run;
    settings.doctor = doctor;
    if (!file.empty()) {
      settings = settings_from_json(settings_object(read_file(file), file), settings, file);
    }
    return words.over(settings);
  }

  CLI::App* command;
  std::string file;
  bool resume = false;
  bool accept_changed_text = false;
  bool quiet = false;
  bool dry_run = false;
  bool doctor = false;
  SettingWords<Config> words;
};

/// `settings`: what `train` takes, from the same list.
template <typename Config>
struct SettingsCommand {
  explicit SettingsCommand(CLI::App& app)
      : command(app.add_subcommand("settings", "list the settings of train")) {
    command->add_flag("--json", json, "print JSON, one object per line");
  }

  void run() const {
    std::string text;
    const Config defaults;
    for_each_setting(defaults, [&](const char* name, const auto& field, const char* help, bool) {
      const nlohmann::json value = value_of(field);
      const bool none = value.is_null() || (value.is_array() && value.empty());
      const std::string shown = none                ? ""
                                : value.is_string() ? value.get<std::string>()
                                                    : value.dump();
      const nlohmann::json object{{"name", std::string("--") + name},
                                  {"default", shown},
                                  {"help", help}};
      text += json ? object.dump() + "\n" : fmt::format("--{:24} {:12}  {}\n", name, shown, help);
    });
    write_file("", text);
  }

  CLI::App* command;
  bool json = false;
};

/// `average`: one model of several checkpoints.
struct AverageCommand {
  explicit AverageCommand(CLI::App& app)
      : command(app.add_subcommand("average", "average the weights of several checkpoints")) {
    auto* run = command->add_option("--run-dir", run_dir, "folder of a run");
    add_integer(*command, "--last", last, "its last checkpoints; how many", 1, 10'000)->needs(run);
    command->add_option("--checkpoints", checkpoints, "files of checkpoints")->excludes(run);
    command->add_option("--output", output, "the checkpoint that is written")->required();
  }

  /// `stored` reads the config of a checkpoint.
  template <typename Stored>
  void run(const Stored& stored) const {
    if (run_dir.empty() && checkpoints.empty()) {
      throw ConfigError("--checkpoints: expected checkpoints, or a --run-dir, but got neither");
    }
    check_writable(output);
    const auto files = run_dir.empty() ? checkpoints : last_checkpoints(run_dir, last);
    const auto average = average_checkpoints(files);
    for (const auto& each : files) {
      const auto config = stored(load_checkpoint(each), each);
      check_same_model(stored(average, files.back()), config, files.back());
    }
    save_checkpoint(average, output);
  }

  CLI::App* command;
  std::string run_dir, output;
  std::vector<std::string> checkpoints;
  int64_t last = 5;
};

}  // namespace evenkeel::examples
