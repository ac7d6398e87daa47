// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>

#include <cmath>
#include <cstdint>

namespace evenkeel {

/// Options for `diagnose`, e.g. `DiagnoseOptions().learning_rate(1e-3).warmup_steps(4000)`: how the
/// model is going to be trained. The optimizer is Adam.
struct DiagnoseOptions {
  /// Throws c10::Error for an option out of range.
  void check() const {
    const auto positive = [](const char* name, double value) {
      TORCH_CHECK(std::isfinite(value) && value > 0.0,
                  "diagnose: expected ",
                  name,
                  " > 0, but got ",
                  value);
    };
    positive("learning_rate", learning_rate());
    positive("magnitude", magnitude());
    positive("eps", eps());
    for (const double beta : {beta1(), beta2()}) {
      TORCH_CHECK(beta >= 0.0 && beta < 1.0, "diagnose: expected betas in [0, 1), but got ", beta);
    }
    TORCH_CHECK(warmup_steps() >= 0,
                "diagnose: expected warmup_steps >= 0, but got ",
                warmup_steps());
    TORCH_CHECK(std::isfinite(clip_norm()) && clip_norm() >= 0.0,
                "diagnose: expected clip_norm >= 0, but got ",
                clip_norm());
    TORCH_CHECK(trial_steps() >= 1 && trial_steps() <= 7,
                "diagnose: expected trial_steps in [1, 7], but got ",
                trial_steps());
  }

  /// The highest learning rate of the training. Default: 1e-3
  TORCH_ARG(double, learning_rate) = 1e-3;
  /// Updates of linear warm-up; 0: none. Default: 0
  TORCH_ARG(int64_t, warmup_steps) = 0;
  /// Adam's. Defaults: 0.9, 0.98 and 1e-9, as in Vaswani et al. 2017
  TORCH_ARG(double, beta1) = 0.9;
  TORCH_ARG(double, beta2) = 0.98;
  TORCH_ARG(double, eps) = 1e-9;
  /// The norm at which gradients are clipped; 0: no clipping. Default: 0
  TORCH_ARG(double, clip_norm) = 0.0;
  /// How many updates are tried, at most 7, so that `loss` runs at most 12 times. Default: 7
  TORCH_ARG(int64_t, trial_steps) = 7;
  /// How far each weight moves to measure the output change, as in `OutputChangeOptions`.
  /// Default: 1e-4
  TORCH_ARG(double, magnitude) = 1e-4;
  /// The kind of a model's only stack, where its blocks do not say. Default: encoder
  TORCH_ARG(Stack, stack) = Stack::kEncoder;
};

}  // namespace evenkeel
