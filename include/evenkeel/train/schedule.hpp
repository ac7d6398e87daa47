// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace evenkeel::train {

namespace detail {

/// Of a schedule called `name` that ends at update `steps`.
inline void require_steps(const char* name, int64_t step, int64_t warmup, int64_t steps) {
  evenkeel::detail::require(step >= 1 && warmup >= 0 && steps >= warmup,
                            name,
                            ": expected step >= 1, warmup >= 0 and steps >= warmup, but got ",
                            step,
                            ", ",
                            warmup,
                            " and ",
                            steps);
}

/// Of update `step` <= warmup.
inline double warmup_lr(int64_t step, double peak, int64_t warmup) {
  return peak * static_cast<double>(step) / static_cast<double>(warmup);
}

}  // namespace detail

/// The learning rate of update `step`, from 1: it rises linearly to `peak` over `warmup` updates,
/// then falls as peak * sqrt(warmup / step).
/// Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, with a configurable peak instead
/// of d^-.5, as in fairseq's `inverse_sqrt`.
/// Throws std::invalid_argument for step < 1 or warmup < 1.
inline double inverse_sqrt_lr(int64_t step, double peak, int64_t warmup) {
  evenkeel::detail::require(step >= 1 && warmup >= 1,
                            "inverse_sqrt_lr: expected step and warmup >= 1, but got ",
                            step,
                            " and ",
                            warmup);
  const auto t = static_cast<double>(step);
  const auto w = static_cast<double>(warmup);
  return peak * std::min(t / w, std::sqrt(w / t));
}

/// The learning rate of update `step`, from 1, without warm-up:
///
///     lr = peak * sqrt(P / (P + step)),  P = decay_period
///
/// Source: layer6ai-labs/T-Fixup, `inverse_sqrt_nowarmup`, with P = 4000.
/// Throws std::invalid_argument for step < 1 or decay_period < 1.
inline double inverse_sqrt_no_warmup_lr(int64_t step, double peak, int64_t decay_period) {
  evenkeel::detail::require(
      step >= 1 && decay_period >= 1,
      "inverse_sqrt_no_warmup_lr: expected step and decay_period >= 1, but got ",
      step,
      " and ",
      decay_period);
  const auto p = static_cast<double>(decay_period);
  return peak * std::sqrt(p / (p + static_cast<double>(step)));
}

/// The learning rate of update `step`, from 1: it rises linearly to `peak` over `warmup` updates, 0
/// for none, then falls linearly, to 0 at update `steps` and after it.
/// Source: Hugging Face transformers, `get_linear_schedule_with_warmup`, at its step `step`.
/// Throws std::invalid_argument for step < 1, warmup < 0 or steps < warmup.
inline double linear_lr(int64_t step, double peak, int64_t warmup, int64_t steps) {
  detail::require_steps("linear_lr", step, warmup, steps);
  if (step <= warmup) return detail::warmup_lr(step, peak, warmup);
  if (step >= steps) return 0.0;
  return peak * static_cast<double>(steps - step) / static_cast<double>(steps - warmup);
}

/// The learning rate of update `step`, from 1: it rises linearly to `peak` over `warmup` updates, 0
/// for none, then falls as half a cosine, to 0 at update `steps` and after it:
///
///     lr = peak * (1 + cos(pi * (step - warmup) / (steps - warmup))) / 2
///
/// Paper: Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983, without restarts. Source:
/// Hugging Face transformers, `get_cosine_schedule_with_warmup`, at its step `step`, which rises
/// again after `steps`.
/// Throws std::invalid_argument for step < 1, warmup < 0 or steps < warmup.
inline double cosine_lr(int64_t step, double peak, int64_t warmup, int64_t steps) {
  detail::require_steps("cosine_lr", step, warmup, steps);
  if (step <= warmup) return detail::warmup_lr(step, peak, warmup);
  if (step >= steps) return 0.0;
  constexpr double kPi = 3.14159265358979323846;
  const double share = static_cast<double>(step - warmup) / static_cast<double>(steps - warmup);
  return peak * (1.0 + std::cos(kPi * share)) / 2.0;
}

/// The learning rate of update `step`, from 1: it rises linearly to `peak` over `warmup` updates, 0
/// for none, and stays there.
/// Source: Hugging Face transformers, `get_constant_schedule_with_warmup`, at its step `step`.
/// Throws std::invalid_argument for step < 1 or warmup < 0.
inline double constant_lr(int64_t step, double peak, int64_t warmup) {
  evenkeel::detail::require(step >= 1 && warmup >= 0,
                            "constant_lr: expected step >= 1 and warmup >= 0, but got ",
                            step,
                            " and ",
                            warmup);
  return step >= warmup ? peak : detail::warmup_lr(step, peak, warmup);
}

/// Whether the learning rate is to be reduced on a plateau, after a validation that was not better,
/// as the last `stalled` ones: after `patience` + 1 of them, and again after as many more.
/// Source: `torch.optim.lr_scheduler.ReduceLROnPlateau` without cooldown. It has the same
/// definition of better, by more than a threshold, with threshold_mode="abs".
/// Throws std::invalid_argument for stalled < 0 or patience < 0.
inline bool reduce_on_plateau(int64_t stalled, int64_t patience) {
  evenkeel::detail::require(stalled >= 0 && patience >= 0,
                            "reduce_on_plateau: expected stalled and patience >= 0, but got ",
                            stalled,
                            " and ",
                            patience);
  return stalled > 0 && stalled % (patience + 1) == 0;
}

}  // namespace evenkeel::train
