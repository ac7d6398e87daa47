// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/diagnose_options.hpp>

#include <algorithm>
#include <cstdint>

namespace evenkeel::examples {

/// How a run of that config goes on after so many updates: to the `highest` rate, by the rest of
/// its `warmup`, or at the rate of its next update.
template <typename Config>
DiagnoseOptions doctor_options(
    const Config& config, int64_t updates, double highest, int64_t warmup, double next) {
  const auto rest = std::max<int64_t>(warmup - updates, 0);
  // a schedule may end at 0
  const double rate = rest > 0 || updates == 0 || next <= 0.0 ? highest : next;
  return DiagnoseOptions()
      .learning_rate(rate)
      .warmup_steps(rest)
      .beta1(config.beta1)
      .beta2(config.beta2)
      .eps(config.eps)
      .clip_norm(config.clip_norm);
}

}  // namespace evenkeel::examples
