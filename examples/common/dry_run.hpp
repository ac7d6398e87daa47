// SPDX-License-Identifier: MIT
#pragma once

#include "batch_source.hpp"
#include "progress.hpp"
#include "update_step.hpp"

#include <cstdint>

namespace evenkeel::examples {

/// Does some updates, which are lost, and says how long one takes, how long an epoch of so many
/// batches will take, and how much memory was needed.
void dry_run(
    BatchSource& source, UpdateStep& step, int64_t accumulate, int64_t batches, Progress& progress);

}  // namespace evenkeel::examples
