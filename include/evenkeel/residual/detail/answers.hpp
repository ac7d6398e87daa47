// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/draw.hpp>
#include <evenkeel/core/position.hpp>
#include <evenkeel/residual/gain.hpp>
#include <evenkeel/residual/norms.hpp>

#include <type_traits>

/// Compile-time checks of a scheme's struct. C++17 cannot list the members of a struct, but it can
/// test whether there is a member of a given name. So a member of a scheme has to have the right
/// signature if it exists, and common misspellings must not exist.
namespace evenkeel::detail {

// HasMember_NAME<S>: whether S has a member called NAME, of any kind and signature. In a class that
// inherits S and a second `NAME`, the name is ambiguous exactly if S has one.
#define EVENKEEL_HAS_MEMBER(NAME)              \
  struct Decoy_##NAME {                        \
    int NAME;                                  \
  };                                           \
  template <typename S>                        \
  struct Both_##NAME : S, Decoy_##NAME {};     \
  template <typename S, typename = void>       \
  struct HasMember_##NAME : std::true_type {}; \
  template <typename S>                        \
  struct HasMember_##NAME<S, std::void_t<decltype(&Both_##NAME<S>::NAME)>> : std::false_type {};

// IsAnswer_NAME<S>: whether S::NAME(ARGUMENTS...) is a static call that returns a RESULT.
#define EVENKEEL_ANSWER(NAME, RESULT, ...)                               \
  EVENKEEL_HAS_MEMBER(NAME)                                              \
  template <typename S, typename = void>                                 \
  struct IsAnswer_##NAME : std::false_type {};                           \
  template <typename S>                                                  \
  struct IsAnswer_##NAME<S, std::void_t<decltype(S::NAME(__VA_ARGS__))>> \
      : std::is_same<std::decay_t<decltype(S::NAME(__VA_ARGS__))>, RESULT> {};

inline const Position& any_position();

EVENKEEL_ANSWER(norms, Norms, any_position())
EVENKEEL_ANSWER(shortcut, Gain, any_position())
EVENKEEL_ANSWER(branch, Gain, any_position())
EVENKEEL_ANSWER(norm_gain, double, any_position())
EVENKEEL_ANSWER(head_gain, Gain, any_position())
EVENKEEL_ANSWER(draw, Draw, Role{}, any_position())
EVENKEEL_HAS_MEMBER(kName)
EVENKEEL_HAS_MEMBER(kTitle)
EVENKEEL_HAS_MEMBER(kSummary)
EVENKEEL_HAS_MEMBER(kWarmup)
EVENKEEL_HAS_MEMBER(kProfiled)
EVENKEEL_HAS_MEMBER(kStream)

// Misspellings of the members' names, and former names.
// clang-format off
#define EVENKEEL_NOT_ANSWERS(X) \
  X(norm) X(Norms) X(Norm) X(nroms) X(norms_at) X(norm_placement) X(kNorm) X(kNorms) \
  X(shortcuts) X(short_cut) X(shorcut) X(shotcut) X(shortct) X(shortcutt) X(Shortcut) \
  X(shortCut) X(shortcut_gain) X(skip) X(omega) X(alpha) X(branchs) X(branches) X(brach) \
  X(branhc) X(bracnh) X(barnch) X(Branch) X(branch_gain) X(beta) X(norm_gains) X(normgain) \
  X(normGain) X(norms_gain) X(gain_norm) X(norm_scale) X(draws) X(Draw) X(drwa) X(draw_of) \
  X(head_gains) X(heads) X(stream) X(kStreams) \
  X(init) X(inits) X(init_draw) X(init_factor) X(initialize)
// clang-format on

EVENKEEL_NOT_ANSWERS(EVENKEEL_HAS_MEMBER)

#undef EVENKEEL_ANSWER
#undef EVENKEEL_HAS_MEMBER

/// Compiles if every member of S has the right name and signature. `Scheme`, the value, is not such
/// a struct.
template <typename S>
constexpr bool check_answers() {
  static_assert(std::is_class_v<S> && !std::is_final_v<S>,
                "a scheme is a struct, not final, with `static Norms norms(const Position&)`, such "
                "as evenkeel::Admin");
  static_assert(HasMember_norms<S>::value,
                "a scheme has to define its norm placement: `static Norms norms(const Position&)`");
  static_assert(!HasMember_norms<S>::value || IsAnswer_norms<S>::value,
                "a scheme's `norms` has to be `static Norms norms(const Position&)`");
  static_assert(!HasMember_shortcut<S>::value || IsAnswer_shortcut<S>::value,
                "a scheme's `shortcut` has to be `static Gain shortcut(const Position&)`");
  static_assert(!HasMember_branch<S>::value || IsAnswer_branch<S>::value,
                "a scheme's `branch` has to be `static Gain branch(const Position&)`");
  static_assert(!HasMember_norm_gain<S>::value || IsAnswer_norm_gain<S>::value,
                "a scheme's `norm_gain` has to be `static double norm_gain(const Position&)`");
  static_assert(!HasMember_head_gain<S>::value || IsAnswer_head_gain<S>::value,
                "a scheme's `head_gain` has to be `static Gain head_gain(const Position&)`");
  static_assert(!HasMember_draw<S>::value || IsAnswer_draw<S>::value,
                "a scheme's `draw` has to be `static Draw draw(Role, const Position&)`");
#define EVENKEEL_CHECK(NAME)                                                                  \
  static_assert(!HasMember_##NAME<S>::value,                                                  \
                "a scheme has no member `" #NAME                                              \
                "`; its members are norms, shortcut, branch, norm_gain, head_gain and draw, " \
                "and kName, kTitle, kSummary, kStream, kWarmup and kProfiled");
  EVENKEEL_NOT_ANSWERS(EVENKEEL_CHECK)
#undef EVENKEEL_CHECK
  return true;
}

#undef EVENKEEL_NOT_ANSWERS

}  // namespace evenkeel::detail
