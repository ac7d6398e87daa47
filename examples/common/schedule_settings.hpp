// SPDX-License-Identifier: MIT
#pragma once

#include "settings.hpp"

#include <cstdint>
#include <string>

namespace evenkeel::examples {

/// Settings of how the learning rate goes on from its peak. A program's own settings derive from
/// them.
struct ScheduleSettings {
  std::string lr_scheduler = "inverse_sqrt";  ///< One of those that `learning_rate()` knows.
  int64_t decay_steps = 0;                    ///< Updates until linear and cosine reach 0.
  int64_t decay_period = 4000;                ///< P of lr * sqrt(P / (P + t)), without warm-up.
  double lr_shrink = 0.1;                     ///< Factor on a plateau.
  int64_t lr_patience = 0;                    ///< Validations that may be no better before that.
  double lr_embeddings = 1.0;                 ///< Factor of the rate of embeddings and head.
  double lr_gains = 1.0;                      ///< Factor of the rate of gains.
};

/// Calls `visit(name, field, help, may_change)` for every one of them.
template <typename AnySettings, typename Visit>
void for_each_schedule_setting(AnySettings& c, Visit&& visit) {
  visit("lr-scheduler",
        c.lr_scheduler,
        "inverse_sqrt, linear, cosine, constant or reduce_lr_on_plateau",
        false);
  visit("decay-steps",
        c.decay_steps,
        "updates until linear and cosine reach 0; 0: --max-steps",
        false);
  visit("decay-period",
        c.decay_period,
        "inverse_sqrt without warm-up: P of lr*sqrt(P/(P+t))",
        false);
  visit("lr-shrink", c.lr_shrink, "on a plateau: factor of the learning rate", false);
  visit("lr-patience",
        c.lr_patience,
        "on a plateau: validations that may be no better before that",
        false);
  visit("lr-embeddings",
        c.lr_embeddings,
        "factor of the learning rate of embeddings, the output's too; 0: they stay as they are",
        false);
  visit("lr-gains",
        c.lr_gains,
        "factor of the learning rate of trained gains, such as Admin's omega; 0: they stay",
        false);
}

/// Sets decay_steps to `max_steps` where it is not said. Throws ConfigError for settings that are
/// out of range, for a warm-up that is longer than the decay, and for a plateau where `validates`
/// says that there are no validations.
void resolve_schedule_settings(ScheduleSettings& settings,
                               int64_t warmup,
                               int64_t max_steps,
                               bool validates);

/// The learning rate of an update, from 1, after `warmup` updates of warm-up to `peak`; on a
/// plateau without `plateau_factor`.
double learning_rate(const ScheduleSettings& settings, int64_t update, double peak, int64_t warmup);

/// What the learning rate is multiplied by after a validation; `stalled` are those since one was
/// better.
double plateau_factor(const ScheduleSettings& settings, int64_t stalled);

}  // namespace evenkeel::examples
