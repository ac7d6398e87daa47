// SPDX-License-Identifier: MIT
#include <evenkeel/core/draw.hpp>

#include <gtest/gtest.h>

#include <cmath>

namespace evenkeel {
namespace {

TEST(DrawTest, PlainIsFairseqs) {
  for (const auto role : {Role::kQuery, Role::kKey, Role::kValue}) {
    EXPECT_EQ(plain_draw(role), Draw::xavier_uniform(std::sqrt(0.5))) << to_string(role);
  }
  for (const auto role : {Role::kAttentionOutput, Role::kFeedForwardIn, Role::kFeedForwardOut}) {
    EXPECT_EQ(plain_draw(role), Draw::xavier_uniform()) << to_string(role);
  }
  for (const auto role : {Role::kEmbedding, Role::kHead}) {
    EXPECT_EQ(plain_draw(role), Draw::fan_in_normal()) << to_string(role);
  }
  EXPECT_EQ(plain_draw(Role::kBias), Draw::zero());
  for (const auto role : {Role::kNorm, Role::kGain, Role::kUnscaled}) {
    EXPECT_EQ(plain_draw(role), Draw::keep()) << to_string(role);
  }
}

TEST(DrawTest, DiffersByDistributionGainAndBias) {
  EXPECT_EQ(Draw::normal(0.5), Draw::normal(0.5));
  EXPECT_NE(Draw::normal(0.5), Draw::uniform(0.5));
  EXPECT_NE(Draw::normal(0.5), Draw::normal(0.25));
  EXPECT_NE(Draw::keep(0.5), Draw::keep(0.5).with_bias());
}

}  // namespace
}  // namespace evenkeel
