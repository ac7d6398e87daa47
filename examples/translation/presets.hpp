// SPDX-License-Identifier: MIT
#pragma once

#include "config.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// Settings for a task, as --task has them.
struct Preset {
  std::string name;
  std::string title;     ///< Size of the model: layers, then width-inner-heads.
  std::string summary;   ///< Where the settings come from.
  std::string settings;  ///< JSON, as of --config.
  double lr;             ///< Of schemes with warm-up; the others have their own.
  int64_t warmup;        ///< Likewise.
};

/// tiny, multi30k, iwslt, base and big.
const std::vector<Preset>& presets();

/// The preset of that name. Throws ConfigError, with the nearest, if there is none.
const Preset& find_preset(const std::string& name);

/// `config` with the settings of the task that `said` names, if it names one.
Config with_preset(const Config& config, const Config& said);

}  // namespace evenkeel::examples::translation
