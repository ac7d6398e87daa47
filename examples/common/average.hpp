// SPDX-License-Identifier: MIT
#pragma once

#include "checkpoint.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples {

/// The files of the last `count` checkpoints of a run, oldest first. Throws ConfigError if there
/// are fewer.
std::vector<std::string> last_checkpoints(const std::string& run_dir, int64_t count);

/// A model each of whose weights is the mean of that of the models in some checkpoints, at least
/// one; its texts are those of the last of them. A checkpoint that has moving averages counts with
/// them. Throws CheckpointError for one that cannot be read or has other tensors or vocabularies.
Checkpoint average_checkpoints(const std::vector<std::string>& files);

}  // namespace evenkeel::examples
