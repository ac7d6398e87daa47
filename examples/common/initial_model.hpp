// SPDX-License-Identifier: MIT
#pragma once

#include "checkpoint.hpp"
#include "settings.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

namespace evenkeel::examples {

/// A trained model with whose weights a run begins.
struct InitialModel {
  std::string file;
  Checkpoint checkpoint;
};

/// Reads the model of another program as a checkpoint of ours; nothing for what is none.
using ReadOthers = std::optional<Checkpoint> (*)(const std::string& folder);

/// The model that --init-from names, a run's folder or one of its checkpoints, or what
/// `read_others` reads; nothing for an empty name. Throws CheckpointError.
std::optional<InitialModel> load_initial_model(const std::string& folder_or_file,
                                               ReadOthers read_others = nullptr);

// The following work on any `Config` that has `model_settings(config)`, found by argument-dependent
// lookup: the names of the settings that describe a model.

/// `config` with the model of another one.
template <typename Config>
Config with_model_of(Config config, const Config& other) {
  const auto all = settings_to_json(other);
  auto of_model = nlohmann::json::object();
  for (const auto& name : model_settings(other)) of_model[name] = all.at(name);
  return settings_from_json(of_model, std::move(config), "config");
}

/// Throws ConfigError, which names the setting, unless `asked` has the model of `trained`, which is
/// `whose`, as in "the model of --init-from FILE".
template <typename Config>
void check_same_model(const Config& trained, const Config& asked, const std::string& whose) {
  const auto before = settings_to_json(trained);
  const auto now = settings_to_json(asked);
  for (const auto& name : model_settings(trained)) {
    expect(before.at(name) == now.at(name),
           name,
           fmt::format("{}, as {} has it", before.at(name).dump(), whose),
           now.at(name));
  }
}

}  // namespace evenkeel::examples
