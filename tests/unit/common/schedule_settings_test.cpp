// SPDX-License-Identifier: MIT
#include "common/schedule_settings.hpp"

#include <evenkeel/train/schedule.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace evenkeel::examples {
namespace {

ScheduleSettings scheduled(const std::string& name) {
  ScheduleSettings settings;
  settings.lr_scheduler = name;
  settings.decay_steps = 100;
  settings.decay_period = 40;
  return settings;
}

std::string error_of(ScheduleSettings settings,
                     int64_t warmup = 10,
                     int64_t max_steps = 100,
                     bool validates = true) {
  try {
    resolve_schedule_settings(settings, warmup, max_steps, validates);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ScheduleSettingsTest, EveryNameIsItsSchedule) {
  for (const int64_t update : {1, 5, 10, 60, 100, 200}) {
    SCOPED_TRACE(update);
    const auto rate = [&](const std::string& name, int64_t warmup) {
      return learning_rate(scheduled(name), update, 1e-3, warmup);
    };
    EXPECT_EQ(rate("inverse_sqrt", 10), train::inverse_sqrt_lr(update, 1e-3, 10));
    EXPECT_EQ(rate("inverse_sqrt", 0), train::inverse_sqrt_no_warmup_lr(update, 1e-3, 40));
    EXPECT_EQ(rate("linear", 10), train::linear_lr(update, 1e-3, 10, 100));
    EXPECT_EQ(rate("cosine", 10), train::cosine_lr(update, 1e-3, 10, 100));
    EXPECT_EQ(rate("constant", 10), train::constant_lr(update, 1e-3, 10));
    EXPECT_EQ(rate("reduce_lr_on_plateau", 10), train::constant_lr(update, 1e-3, 10));
  }
}

TEST(ScheduleSettingsTest, APlateauIsOnlyThatSchedules) {
  auto settings = scheduled("reduce_lr_on_plateau");
  settings.lr_patience = 1;
  settings.lr_shrink = 0.25;
  EXPECT_EQ(plateau_factor(settings, 0), 1.0);
  EXPECT_EQ(plateau_factor(settings, 1), 1.0);
  EXPECT_EQ(plateau_factor(settings, 2), 0.25);
  EXPECT_EQ(plateau_factor(scheduled("constant"), 2), 1.0);
}

TEST(ScheduleSettingsTest, DecaysOverAllUpdatesUnlessSaidOtherwise) {
  for (const char* name : {"linear", "cosine"}) {
    auto settings = scheduled(name);
    resolve_schedule_settings(settings, 10, 70, true);
    EXPECT_EQ(settings.decay_steps, 100);
    settings.decay_steps = 0;
    resolve_schedule_settings(settings, 10, 70, true);
    EXPECT_EQ(settings.decay_steps, 70);
    settings.decay_steps = 0;
    EXPECT_EQ(error_of(settings, 10, 0),
              "--decay-steps: expected the updates, since --max-steps has no limit, but got 0");
    EXPECT_EQ(error_of(scheduled(name), 101),
              "--warmup: expected at most --decay-steps 100, but got 101");
  }
}

TEST(ScheduleSettingsTest, WhatIsOutOfRangeIsRefusedByName) {
  EXPECT_EQ(error_of(scheduled("inverse_sqrt"), 10, 0, /*validates=*/false), "no error");
  EXPECT_EQ(error_of(scheduled("cosin")),
            "--lr-scheduler: expected inverse_sqrt, linear, cosine, constant or "
            "reduce_lr_on_plateau, but got \"cosin\"");
  EXPECT_EQ(error_of(scheduled("reduce_lr_on_plateau"), 10, 100, /*validates=*/false),
            "--lr-scheduler: expected text to validate on, but got \"reduce_lr_on_plateau\"");
  auto settings = scheduled("reduce_lr_on_plateau");
  settings.lr_shrink = 1.0;
  EXPECT_EQ(error_of(settings), "--lr-shrink: expected a number above 0 and below 1, but got 1.0");
  settings.lr_shrink = 0.5;
  settings.lr_patience = -1;
  EXPECT_EQ(error_of(settings), "--lr-patience: expected at least 0, but got -1");
}

}  // namespace
}  // namespace evenkeel::examples
