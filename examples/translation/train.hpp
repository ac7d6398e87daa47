// SPDX-License-Identifier: MIT
#pragma once

#include "common/train_loop.hpp"
#include "config.hpp"

namespace evenkeel::examples::translation {

/// Trains as the config has it, in the folder `run_dir`, which one run at a time may have:
///
///     config.json          the config, everything filled in
///     vocabulary.model     SentencePiece's; or vocabulary.source.model, vocabulary.target.model
///     profile.ratio.init   the omegas with which --scheme admin-profiled began
///     log.jsonl            one JSON object a line: training, validation, end
///     last.safetensors     all that is needed to go on exactly, from before the first update on
///     step-N.safetensors   the ones before it, as many as `keep_last` says
///     best.safetensors     the model with the best validation so far
///     run.lock             who trains here
///
/// SIGINT, SIGTERM and SIGHUP save and leave. With `resume` the run goes on from last.safetensors;
/// on the CPU its losses equal those of an unbroken run bit for bit. Text is known by its content,
/// wherever its files are now: another one is refused, or begun at its next epoch with
/// `accept_changed_text`.
///
/// What is not finite never reaches a checkpoint. A run whose loss or weights are not goes back to
/// its last checkpoint with half the learning rate, `divergence_retries` times.
Ending train(const Config& config, bool resume, bool accept_changed_text = false);

}  // namespace evenkeel::examples::translation
