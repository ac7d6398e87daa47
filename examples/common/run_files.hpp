// SPDX-License-Identifier: MIT
#pragma once

#include "checkpoint.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples {

/// The files that every run has in its folder.
struct RunFiles {
  explicit RunFiles(const std::string& folder)
      : path(folder),
        lock(folder + "/run.lock"),
        config(folder + "/config.json"),
        log(folder + "/log.jsonl"),
        last(folder + "/last.safetensors"),
        best(folder + "/best.safetensors") {}

  /// The checkpoint of an update before the last that is kept.
  std::string earlier(int64_t updates) const {
    return path + "/step-" + std::to_string(updates) + ".safetensors";
  }

  /// The best model by a metric, of those of which there is more than one.
  std::string best_by(const std::string& metric) const {
    return path + "/best-" + metric + ".safetensors";
  }

  std::string path;
  std::string lock;
  std::string config;
  std::string log;
  std::string last;
  std::string best;  ///< By the metric that decides.
};

/// The checkpoint file of a trained model: of a run's folder the best one if there is one,
/// otherwise the last; a file is itself.
std::string model_file(const std::string& folder_or_file);

/// Whether there is anything of that name, a link that leads nowhere included.
bool exists(const std::string& file);

/// Throws ConfigError unless a run may begin in the folder: it is new, or has what a run left that
/// ended before its first checkpoint. `others` are the files that the run would write beside those
/// of RunFiles.
void check_free(const RunFiles& files, const std::vector<std::string>& others);

/// The updates of the checkpoints of a run that are kept beside the last, in ascending order.
std::vector<int64_t> earlier_updates(const RunFiles& files);

/// The last checkpoint of a run. The error for one that cannot be used names the one before it.
Checkpoint load_last(const RunFiles& files);

}  // namespace evenkeel::examples
