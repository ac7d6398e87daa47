// SPDX-License-Identifier: MIT
#include <evenkeel/residual/registry.hpp>
#include <evenkeel/residual/scheme.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "formula.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::throws;

// Says nothing but where its norms stand.
struct Taciturn {
  static Norms norms(const Position&) { return Norms::none(); }
};

// Answers all there is to answer.
struct Talkative {
  static constexpr const char* kName = "talkative";
  static constexpr const char* kTitle = "Talkative";
  static constexpr const char* kSummary = "says everything";
  static Norms norms(const Position& position) {  // as Mix-LN has it
    return position.layer == 0 ? Norms::at_sum() : Norms::at_input();
  }
  static Gain shortcut(const Position& position) {
    return Gain::fixed(static_cast<double>(position.index));
  }
  static Gain branch(Position position) {  // by value is as good
    return Gain::trained(1.0 / static_cast<double>(position.num_res_layers), GainShape::kScalar);
  }
  static double norm_gain(const Position& position) {
    return 1.0 / static_cast<double>(position.layer + 1);
  }
  static Draw draw(Role role, const Position& position) {
    return role == Role::kValue ? Draw::normal(static_cast<double>(position.decoder_layers))
                                : plain_draw(role);
  }
};

Position third_of_36() {
  auto position = Position::of(36);
  position.index = 2;
  position.layer = 1;
  position.encoder_layers = 18;
  position.decoder_layers = 6;
  return position;
}

bool joins_plainly(const Scheme& scheme, const Position& position) {
  return scheme.shortcut(position).kind == Gain::Kind::kOne &&
         scheme.branch(position).kind == Gain::Kind::kOne && scheme.norm_gain(position) == 1.0;
}

bool begins_plainly(const Scheme& scheme, const Position& position) {
  for (int role = 0; role <= static_cast<int>(Role::kUnscaled); ++role) {
    const auto the_role = static_cast<Role>(role);
    if (scheme.draw(the_role, position) != plain_draw(the_role)) return false;
  }
  return true;
}

TEST(SchemeTest, PostNormNormalisesTheSum) {
  const auto scheme = scheme_of<PostNorm>();
  EXPECT_EQ(scheme.norms(third_of_36()), Norms::at_sum());
  EXPECT_TRUE(joins_plainly(scheme, third_of_36()));
  EXPECT_TRUE(begins_plainly(scheme, third_of_36()));
}

TEST(SchemeTest, PreNormNormalisesTheBranchInput) {
  const auto scheme = scheme_of<PreNorm>();
  EXPECT_EQ(scheme.norms(third_of_36()), Norms::at_input());
  EXPECT_TRUE(joins_plainly(scheme, third_of_36()));
  EXPECT_TRUE(begins_plainly(scheme, third_of_36()));
}

void expect_admin(const Scheme& scheme, double omega) {
  const auto shortcut = scheme.shortcut(third_of_36());
  EXPECT_EQ(scheme.norms(third_of_36()), Norms::at_sum());
  EXPECT_EQ(shortcut.kind, Gain::Kind::kTrained);
  EXPECT_EQ(shortcut.shape, GainShape::kPerChannel);
  EXPECT_TRUE(all_close(shortcut.value, omega));
  EXPECT_EQ(scheme.branch(third_of_36()).kind, Gain::Kind::kOne);
  EXPECT_TRUE(begins_plainly(scheme, third_of_36()));
}

TEST(SchemeTest, AdminTrainsAShortcutThatBeginsByTheDepthOfItsStack) {
  expect_admin(scheme_of<Admin>(), 3.0408390381813574255);  // mpmath, see omega_test.cpp
  expect_admin(scheme_of<AdminO1>(), 6.0);
  expect_admin(scheme_of<AdminScheme<OutputChangeScale::kON>>(), 1.0);
}

TEST(SchemeTest, AdminConstantHasOneOmegaThatIsNotTrained) {
  const auto scheme = scheme_of<AdminConstant>();
  const auto shortcut = scheme.shortcut(third_of_36());
  EXPECT_EQ(shortcut.kind, Gain::Kind::kFixed);
  EXPECT_EQ(shortcut.shape, GainShape::kScalar);
  EXPECT_TRUE(all_close(shortcut.value, 3.0408390381813574255));  // as Admin's above
  EXPECT_EQ(scheme.norms(third_of_36()), Norms::at_sum());
  EXPECT_EQ(scheme.branch(third_of_36()).kind, Gain::Kind::kOne);
  EXPECT_TRUE(begins_plainly(scheme, third_of_36()));
}

TEST(SchemeTest, TFixupHasNoNormAndDrawsSmallerWeights) {
  const auto scheme = scheme_of<TFixup>();
  const auto position = third_of_36();
  EXPECT_EQ(scheme.norms(position), Norms::none());
  EXPECT_TRUE(joins_plainly(scheme, position));
  EXPECT_EQ(scheme.draw(Role::kValue, position), tfixup_draw(Role::kValue, position));
  EXPECT_NE(scheme.draw(Role::kValue, position), plain_draw(Role::kValue));
  EXPECT_EQ(scheme.draw(Role::kQuery, position), plain_draw(Role::kQuery));
}

TEST(SchemeTest, WhatIsLeftOutHasThePlainAnswer) {
  const auto scheme = scheme_of<Taciturn>();
  EXPECT_EQ(scheme.norms(third_of_36()), Norms::none());
  EXPECT_TRUE(joins_plainly(scheme, third_of_36()));
  EXPECT_TRUE(begins_plainly(scheme, third_of_36()));
  EXPECT_EQ(scheme.title, "user's scheme");
}

TEST(SchemeTest, AUsersAnswersAreHeard) {
  const auto scheme = scheme_of<Talkative>();
  auto position = third_of_36();
  EXPECT_EQ(scheme.name, "talkative");
  EXPECT_EQ(scheme.title, "Talkative");
  EXPECT_EQ(scheme.summary, "says everything");
  EXPECT_EQ(scheme.norms(position), Norms::at_input());
  EXPECT_EQ(scheme.shortcut(position).kind, Gain::Kind::kFixed);
  EXPECT_EQ(scheme.shortcut(position).value, 2.0);
  EXPECT_EQ(scheme.branch(position).kind, Gain::Kind::kTrained);
  EXPECT_EQ(scheme.branch(position).value, 1.0 / 36.0);
  EXPECT_EQ(scheme.norm_gain(position), 0.5);
  EXPECT_EQ(scheme.draw(Role::kValue, position), Draw::normal(6.0));
  position.layer = 0;
  EXPECT_EQ(scheme.norms(position), Norms::at_sum());
}

TEST(SchemeTest, MayBeAValueWhoseAnswersComeFromData) {
  const std::vector<double> profile{1.0, 1.319, 1.455};
  Scheme scheme = scheme_of<Admin>();
  scheme.name = "from-a-file";
  scheme.shortcut = [profile](const Position& position) {
    return Gain::trained(profile.at(static_cast<size_t>(position.index)), GainShape::kPerChannel);
  };
  EXPECT_EQ(scheme.shortcut(third_of_36()).value, 1.455);
  EXPECT_EQ(scheme.norms(third_of_36()), Norms::at_sum());
}

TEST(NormsTest, SayWhetherAStackEndsInOneMore) {
  EXPECT_TRUE(Norms::at_input().need_final_norm());
  EXPECT_TRUE(Norms::at_input().and_branch().need_final_norm());
  EXPECT_FALSE(Norms::at_input().and_sum().need_final_norm());
  EXPECT_FALSE(Norms::at_sum().need_final_norm());
  EXPECT_FALSE(Norms::none().need_final_norm());
}

TEST(NormsTest, PrintTheirSlots) {
  EXPECT_EQ(to_string(Norms::none()), "none");
  EXPECT_EQ(to_string(Norms::at_input().and_branch()), "input, branch");
  EXPECT_EQ(to_string(Norms::at_sum().and_inside()), "inside, sum");
}

TEST(RegistryTest, FindsEverySchemeByItsName) {
  std::set<std::string> names;
  for (const auto& scheme : schemes()) {
    EXPECT_EQ(find_scheme(scheme.name).title, scheme.title);
    EXPECT_TRUE(names.insert(scheme.name).second) << scheme.name << " is there twice";
    EXPECT_FALSE(scheme.summary.empty()) << scheme.name;
  }
  EXPECT_EQ(find_scheme("admin-o1").title, "Admin O(1)");
  EXPECT_EQ(find_scheme("admin-constant").title, "Admin constant");
}

TEST(RegistryTest, NamesTheNearestForANameThatIsNone) {
  EXPECT_TRUE(throws<c10::ValueError>(
      [] { find_scheme("admin-01"); },
      "find_scheme: expected one of post, pre, admin, admin-o1, admin-constant, admin-profiled, "
      "tfixup, deepnorm, rezero, skipinit, layerscale, peri, subln, b2t, residual-dual, lns, "
      "completep, branchnorm, normformer, keel, mixln, hybridnorm, hybridnorm-star, siamesenorm, "
      "but got admin-01; the nearest is admin-o1"));
  EXPECT_TRUE(
      throws<c10::ValueError>([] { find_scheme(""); }, "but got nothing; the nearest is pre"));
}

TEST(RegistryTest, HasTheTitlesOfTheirPapers) {
  EXPECT_EQ(find_scheme("admin").title, "Admin O(logn)");
  EXPECT_EQ(find_scheme("admin-o1").title, "Admin O(1)");
  EXPECT_EQ(find_scheme("residual-dual").title, "ResiDual");
  EXPECT_EQ(find_scheme("lns").title, "LayerNorm Scaling");
  EXPECT_EQ(scheme_of<AdminScheme<OutputChangeScale::kON>>().title, "Admin O(n)");
}

}  // namespace
}  // namespace evenkeel
