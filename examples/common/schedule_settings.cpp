// SPDX-License-Identifier: MIT
#include "schedule_settings.hpp"

#include <evenkeel/train/schedule.hpp>

#include <fmt/format.h>

#include <limits>

namespace evenkeel::examples {

namespace {

constexpr const char* kPlateau = "reduce_lr_on_plateau";

bool falls_to_zero(const ScheduleSettings& c) {
  return c.lr_scheduler == "linear" || c.lr_scheduler == "cosine";
}

}  // namespace

void resolve_schedule_settings(ScheduleSettings& c,
                               int64_t warmup,
                               int64_t max_steps,
                               bool validates) {
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  const bool plateau = c.lr_scheduler == kPlateau;
  expect(falls_to_zero(c) || plateau || c.lr_scheduler == "inverse_sqrt" ||
             c.lr_scheduler == "constant",
         "lr-scheduler",
         "inverse_sqrt, linear, cosine, constant or reduce_lr_on_plateau",
         c.lr_scheduler);
  expect(!plateau || validates, "lr-scheduler", "text to validate on", c.lr_scheduler);
  expect_within(0, kAny, "decay-steps", c.decay_steps);
  expect_within(1, kAny, "decay-period", c.decay_period);
  expect_within(0, kAny, "lr-patience", c.lr_patience);
  expect_within(0, kAny, "warmup", warmup);
  expect(c.lr_shrink > 0.0 && c.lr_shrink < 1.0,
         "lr-shrink",
         "a number above 0 and below 1",
         value_of(c.lr_shrink));
  expect_not_negative("lr-embeddings", c.lr_embeddings);
  expect_not_negative("lr-gains", c.lr_gains);
  if (!falls_to_zero(c)) return;
  if (c.decay_steps == 0) c.decay_steps = max_steps;
  expect(c.decay_steps > 0, "decay-steps", "the updates, since --max-steps has no limit", 0);
  expect(warmup <= c.decay_steps,
         "warmup",
         fmt::format("at most --decay-steps {}", c.decay_steps),
         warmup);
}

double learning_rate(const ScheduleSettings& c, int64_t update, double peak, int64_t warmup) {
  if (c.lr_scheduler == "linear") return train::linear_lr(update, peak, warmup, c.decay_steps);
  if (c.lr_scheduler == "cosine") return train::cosine_lr(update, peak, warmup, c.decay_steps);
  if (c.lr_scheduler != "inverse_sqrt") return train::constant_lr(update, peak, warmup);
  return warmup > 0 ? train::inverse_sqrt_lr(update, peak, warmup)
                    : train::inverse_sqrt_no_warmup_lr(update, peak, c.decay_period);
}

double plateau_factor(const ScheduleSettings& c, int64_t stalled) {
  const bool reduces =
      c.lr_scheduler == kPlateau && train::reduce_on_plateau(stalled, c.lr_patience);
  return reduces ? c.lr_shrink : 1.0;
}

}  // namespace evenkeel::examples
