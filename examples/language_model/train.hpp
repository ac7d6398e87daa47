// SPDX-License-Identifier: MIT
#pragma once

#include "common/train_loop.hpp"
#include "config.hpp"

namespace evenkeel::examples::language_model {

/// Trains a language model as the config has it, in the folder `run_dir`, with the files, signals,
/// checkpoints and ways to resume of all of examples/common: see `TrainLoop`. On the CPU, the
/// losses of a resumed run equal those of an unbroken one bit for bit.
Ending train(const Config& config, bool resume, bool accept_changed_text = false);

}  // namespace evenkeel::examples::language_model
