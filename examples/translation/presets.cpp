// SPDX-License-Identifier: MIT
#include "presets.hpp"

#include <evenkeel/core/nearest.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

namespace evenkeel::examples::translation {

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all{
      {"tiny",
       "2+2 layers, 64-128-2",
       "to try things out, on a CPU in a minute",
       R"({"encoder-layers": 2, "decoder-layers": 2, "embed-dim": 64, "dim-feedforward": 128,
           "num-heads": 2, "vocab-size": 1000, "batch-tokens": 1000, "max-steps": 1000,
           "valid-every": 200, "valid-sentences": 100})",
       2e-3,
       100},
      {"multi30k",
       "12+12 layers, 256-512-4",
       "Multi30k: 29,000 short pairs",
       R"({"encoder-layers": 12, "decoder-layers": 12, "embed-dim": 256, "dim-feedforward": 512,
           "num-heads": 4, "vocab-size": 8000, "batch-tokens": 4096, "max-steps": 3000,
           "valid-every": 250})",
       1e-3,
       400},
      {"iwslt",
       "6+6 layers, 512-1024-4",
       "IWSLT'14 as in Transformer-Clinic, with Adam",
       R"({"encoder-layers": 6, "decoder-layers": 6, "embed-dim": 512, "dim-feedforward": 1024,
           "num-heads": 4, "vocab-size": 10000, "dropout": 0.3, "attention-dropout": 0.1,
           "activation-dropout": 0.1, "weight-decay": 0.0001, "clip-norm": 0.0,
           "batch-tokens": 4096, "max-steps": 100000, "valid-every": 2000})",
       7e-4,
       6000},
      {"base",
       "6+6 layers, 512-2048-8",
       "WMT'14 as in admin-torch's regular setting",
       R"({"encoder-layers": 6, "decoder-layers": 6, "embed-dim": 512, "dim-feedforward": 2048,
           "num-heads": 8, "vocab-size": 32000, "dropout": 0.1, "attention-dropout": 0.1,
           "activation-dropout": 0.1, "clip-norm": 0.0, "batch-tokens": 4096, "accumulate": 8,
           "max-steps": 100000, "valid-every": 2000})",
       1e-3,
       8000},
      {"big",
       "6+6 layers, 1024-4096-16",
       "WMT'14 as in admin-torch's setting of large batches, width of Transformer-big",
       R"({"encoder-layers": 6, "decoder-layers": 6, "embed-dim": 1024, "dim-feedforward": 4096,
           "num-heads": 16, "vocab-size": 32000, "dropout": 0.4, "attention-dropout": 0.1,
           "activation-dropout": 0.1, "weight-decay": 0.0001, "clip-norm": 0.0,
           "batch-tokens": 4096, "accumulate": 128, "max-steps": 100000, "valid-every": 1000})",
       7e-4,
       4000}};
  return all;
}

const Preset& find_preset(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& preset : presets()) {
    if (preset.name == name) return preset;
    names.push_back(preset.name);
  }
  throw ConfigError(fmt::format("--task: expected one of {}, but got {}; the nearest is {}",
                                fmt::join(names, ", "),
                                name,
                                nearest(name, names)));
}

Config with_preset(const Config& config, const Config& said) {
  if (said.task.empty()) return config;
  const auto& preset = find_preset(said.task);
  return config_from_text(preset.settings, "--task " + preset.name, config);
}

}  // namespace evenkeel::examples::translation
