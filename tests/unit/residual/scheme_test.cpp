// SPDX-License-Identifier: MIT
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/scheme.hpp>
#include <evenkeel/residual/tfixup.hpp>

#include "all_close.hpp"

#include <gtest/gtest.h>

#include <string>

namespace evenkeel {
namespace {

using test::all_close;

// Says nothing but where its norms stand.
struct Taciturn {
  static constexpr NormPlacement kNorm = NormPlacement::kNone;
};

// Answers all there is to answer.
struct Talkative {
  static constexpr const char* kName = "Talkative";
  static constexpr NormPlacement kNorm = NormPlacement::kBeforeBranch;
  static Gain shortcut(const Position& position) {
    return Gain::fixed(static_cast<double>(position.index));
  }
  static Gain branch(const Position& position) {
    return Gain::trained(1.0 / static_cast<double>(position.num_res_layers), GainShape::kScalar);
  }
  static double init_factor(Role role, const Position& position) {
    return role == Role::kValue ? static_cast<double>(position.decoder_layers) : 1.0;
  }
};

template <typename Scheme>
bool joins_plainly(const Position& position) {
  return scheme::shortcut<Scheme>(position).kind == Gain::Kind::kOne &&
         scheme::branch<Scheme>(position).kind == Gain::Kind::kOne;
}

template <typename Scheme>
bool begins_plainly(const Position& position) {
  for (const auto role : {Role::kEmbedding,
                          Role::kValue,
                          Role::kAttentionOutput,
                          Role::kFeedForwardIn,
                          Role::kFeedForwardOut}) {
    if (scheme::init_factor<Scheme>(role, position) != 1.0) return false;
  }
  return true;
}

Position third_of_36() {
  auto position = Position::of(36);
  position.index = 2;
  position.encoder_layers = 18;
  position.decoder_layers = 6;
  return position;
}

TEST(SchemeTest, PostNormNormalisesTheSum) {
  EXPECT_EQ(scheme::norm_placement<PostNorm>(), NormPlacement::kAfterSum);
  EXPECT_TRUE(joins_plainly<PostNorm>(third_of_36()));
  EXPECT_TRUE(begins_plainly<PostNorm>(third_of_36()));
}

TEST(SchemeTest, PreNormNormalisesTheBranchInput) {
  EXPECT_EQ(scheme::norm_placement<PreNorm>(), NormPlacement::kBeforeBranch);
  EXPECT_TRUE(joins_plainly<PreNorm>(third_of_36()));
  EXPECT_TRUE(begins_plainly<PreNorm>(third_of_36()));
}

template <typename Scheme>
void expect_admin(double omega) {
  const auto shortcut = scheme::shortcut<Scheme>(third_of_36());
  EXPECT_EQ(scheme::norm_placement<Scheme>(), NormPlacement::kAfterSum);
  EXPECT_EQ(shortcut.kind, Gain::Kind::kTrained);
  EXPECT_EQ(shortcut.shape, GainShape::kPerChannel);
  EXPECT_TRUE(all_close(shortcut.value, omega));
  EXPECT_EQ(scheme::branch<Scheme>(third_of_36()).kind, Gain::Kind::kOne);
  EXPECT_TRUE(begins_plainly<Scheme>(third_of_36()));
}

TEST(SchemeTest, AdminTrainsAShortcutThatBeginsByTheDepthOfItsStack) {
  expect_admin<Admin>(3.0408390381813574255);  // mpmath, see omega_test.cpp
  expect_admin<AdminO1>(6.0);
}

TEST(SchemeTest, TFixupHasNoNormAndScalesItsWeights) {
  const auto position = third_of_36();
  EXPECT_EQ(scheme::norm_placement<TFixup>(), NormPlacement::kNone);
  EXPECT_TRUE(joins_plainly<TFixup>(position));
  EXPECT_EQ(scheme::init_factor<TFixup>(Role::kValue, position),
            tfixup_factor(Role::kValue, position));
  EXPECT_NE(scheme::init_factor<TFixup>(Role::kValue, position), 1.0);
  EXPECT_EQ(scheme::init_factor<TFixup>(Role::kQuery, position), 1.0);
}

TEST(SchemeTest, WhatIsLeftOutHasThePlainAnswer) {
  EXPECT_EQ(scheme::norm_placement<Taciturn>(), NormPlacement::kNone);
  EXPECT_TRUE(joins_plainly<Taciturn>(third_of_36()));
  EXPECT_TRUE(begins_plainly<Taciturn>(third_of_36()));
  EXPECT_EQ(std::string(scheme::name<Taciturn>()), "user's scheme");
}

TEST(SchemeTest, AUsersAnswersAreHeard) {
  const auto position = third_of_36();
  EXPECT_EQ(std::string(scheme::name<Talkative>()), "Talkative");
  EXPECT_EQ(scheme::norm_placement<Talkative>(), NormPlacement::kBeforeBranch);
  EXPECT_EQ(scheme::shortcut<Talkative>(position).kind, Gain::Kind::kFixed);
  EXPECT_EQ(scheme::shortcut<Talkative>(position).value, 2.0);
  EXPECT_EQ(scheme::branch<Talkative>(position).kind, Gain::Kind::kTrained);
  EXPECT_EQ(scheme::branch<Talkative>(position).value, 1.0 / 36.0);
  EXPECT_EQ(scheme::init_factor<Talkative>(Role::kValue, position), 6.0);
}

TEST(SchemeTest, HaveTheNamesOfTheirPapers) {
  EXPECT_EQ(std::string(scheme::name<PostNorm>()), "Post-LN");
  EXPECT_EQ(std::string(scheme::name<PreNorm>()), "Pre-LN");
  EXPECT_EQ(std::string(scheme::name<Admin>()), "Admin O(logn)");
  EXPECT_EQ(std::string(scheme::name<AdminO1>()), "Admin O(1)");
  EXPECT_EQ(std::string(scheme::name<TFixup>()), "T-Fixup");
}

}  // namespace
}  // namespace evenkeel
