// SPDX-License-Identifier: MIT
#pragma once

#include "batches.hpp"
#include "config.hpp"
#include "run_folder.hpp"

#include <evenkeel/diagnose/diagnosis.hpp>
#include <evenkeel/nn/transformer.hpp>

#include <torch/types.h>

#include <cstdint>
#include <optional>

namespace evenkeel::examples::translation {

/// Diagnoses a model on a batch, as the config would train it after `updates` updates: its rate,
/// the rest of the warm-up, Adam and clipping. In float32.
Diagnosis diagnose_model(nn::Transformer<>& model,
                         const Batch& batch,
                         const Config& config,
                         int64_t updates,
                         torch::Device device);

/// Diagnoses the model of a config on the first batch of its text: `trained`, or one with fresh
/// weights.
Diagnosis doctor(const Config& config, const std::optional<TrainedModel>& trained);

}  // namespace evenkeel::examples::translation
