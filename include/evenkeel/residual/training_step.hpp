// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/residual.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/module.h>

#include <cstdint>

namespace evenkeel {

/// Sets all gains of a model that follow the training step, as BranchNorm's, to their values for
/// the update `step`, which counts from 1. Training code calls it before every update. Returns
/// whether there is a gain that still changes, so that it may be left out from then on.
inline bool set_training_step(torch::nn::Module& model, int64_t step) {
  TORCH_CHECK(step >= 1, "set_training_step: expected step >= 1, but got ", step);
  bool changes = false;
  for (const auto& module : model.modules()) {
    auto* residual = dynamic_cast<ResidualImpl*>(module.get());
    if (residual != nullptr && residual->set_training_step(step)) changes = true;
  }
  return changes;
}

}  // namespace evenkeel
