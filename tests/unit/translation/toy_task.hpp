// SPDX-License-Identifier: MIT
#pragma once

#include "common/random.hpp"
#include "common/temporary_folder.hpp"
#include "translation/config.hpp"

#include <array>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// A made-up language pair: every word has one translation, and the order is turned round.
/// Writes `train` and `valid` files whose sentences differ, and a config for a model that learns
/// it.
inline Config toy_task(const TemporaryFolder& folder, int64_t train_pairs, int64_t valid_pairs) {
  constexpr std::array english{"sun",
                               "moon",
                               "tree",
                               "river",
                               "stone",
                               "bird",
                               "fish",
                               "wolf",
                               "snow",
                               "rain",
                               "fire",
                               "wind"};
  constexpr std::array italian{"sole",
                               "luna",
                               "albero",
                               "fiume",
                               "pietra",
                               "uccello",
                               "pesce",
                               "lupo",
                               "neve",
                               "pioggia",
                               "fuoco",
                               "vento"};
  SplitMix64 random(1);
  std::set<std::string> seen;
  const auto write = [&](const std::string& name, int64_t pairs) {
    std::ofstream source(folder / (name + ".en")), target(folder / (name + ".it"));
    while (pairs > 0) {
      std::string forward, backward;
      for (auto words = 2 + random.below(3); words > 0; --words) {
        const auto word = random.below(english.size());
        forward += (forward.empty() ? "" : " ") + std::string(english[word]);
        backward.insert(0, italian[word] + std::string(backward.empty() ? "" : " "));
      }
      if (!seen.insert(forward).second) continue;
      source << forward << '\n';
      target << backward << '\n';
      --pairs;
    }
  };
  write("valid", valid_pairs);
  write("train", train_pairs);

  Config config;
  config.source = {folder / "train.en"};
  config.target = {folder / "train.it"};
  config.valid_source = {folder / "valid.en"};
  config.valid_target = {folder / "valid.it"};
  config.run_dir = folder / "run";
  config.vocab_size = 60;
  config.scheme = "admin-o1";
  config.encoder_layers = config.decoder_layers = 2;
  config.embed_dim = 64;
  config.num_heads = 2;
  config.dim_feedforward = 128;
  config.dropout = 0.0;
  config.lr = 2e-3;
  config.warmup = 50;
  config.label_smoothing = 0.0;
  config.batch_tokens = 400;
  config.max_steps = 600;
  config.valid_every = 1000;
  config.log_every = 200;
  config.threads = 1;
  config.device = "cpu";
  return config;
}

/// The lines of a run's log.
inline std::vector<nlohmann::json> read_log(const std::string& run_dir) {
  std::vector<nlohmann::json> entries;
  std::ifstream stream(run_dir + "/log.jsonl");
  for (std::string line; std::getline(stream, line);) {
    entries.push_back(nlohmann::json::parse(line));
  }
  return entries;
}

/// What `log` says of `key` in every entry of that event.
inline std::vector<double> values(const std::vector<nlohmann::json>& log,
                                  const std::string& event,
                                  const std::string& key) {
  std::vector<double> found;
  for (const auto& entry : log) {
    if (entry["event"] == event) found.push_back(entry[key].get<double>());
  }
  return found;
}

}  // namespace evenkeel::examples::translation
