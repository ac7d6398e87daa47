// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/position.hpp>
#include <evenkeel/residual/gain.hpp>

#include <type_traits>

/// A scheme is data: a struct that answers four questions about
///
///     y = outer_norm( shortcut * x + branch * f( inner_norm(x) ) )
///
///     static constexpr NormPlacement kNorm            where do norms stand?
///     static Gain shortcut(const Position&)           gain of the shortcut      (left out: 1)
///     static Gain branch(const Position&)             gain of the branch        (left out: 1)
///     static double init_factor(Role, const Position&)
///         factor on a matrix drawn by Xavier's rule, by its role                (left out: 1)
///
/// and may say what it is called, `static constexpr const char* kName`.
/// Blocks, init and measurements read these answers and know no scheme by name.
namespace evenkeel::scheme {

namespace detail {

template <typename Scheme, typename = void>
struct HasNorm : std::false_type {};
template <typename Scheme>
struct HasNorm<Scheme, std::void_t<decltype(NormPlacement{Scheme::kNorm})>> : std::true_type {};

template <typename Scheme, typename = void>
struct HasName : std::false_type {};
template <typename Scheme>
struct HasName<Scheme, std::void_t<decltype(Scheme::kName)>> : std::true_type {};

template <typename Scheme, typename = void>
struct HasShortcut : std::false_type {};
template <typename Scheme>
struct HasShortcut<Scheme, std::void_t<decltype(Scheme::shortcut(Position{}))>> : std::true_type {};

template <typename Scheme, typename = void>
struct HasBranch : std::false_type {};
template <typename Scheme>
struct HasBranch<Scheme, std::void_t<decltype(Scheme::branch(Position{}))>> : std::true_type {};

template <typename Scheme, typename = void>
struct HasInitFactor : std::false_type {};
template <typename Scheme>
struct HasInitFactor<Scheme, std::void_t<decltype(Scheme::init_factor(Role::kValue, Position{}))>>
    : std::true_type {};

}  // namespace detail

/// What the scheme is called.
template <typename Scheme>
constexpr const char* name() {
  if constexpr (detail::HasName<Scheme>::value) {
    return Scheme::kName;
  } else {
    return "user's scheme";
  }
}

/// Where the scheme's norms stand.
template <typename Scheme>
constexpr NormPlacement norm_placement() {
  static_assert(detail::HasNorm<Scheme>::value,
                "a scheme is a struct with `static constexpr NormPlacement kNorm`, such as "
                "evenkeel::Admin");
  return Scheme::kNorm;
}

/// The gain of the shortcut at that position.
template <typename Scheme>
Gain shortcut([[maybe_unused]] const Position& position) {
  if constexpr (detail::HasShortcut<Scheme>::value) {
    return Scheme::shortcut(position);
  } else {
    return Gain::one();
  }
}

/// The gain of the branch at that position.
template <typename Scheme>
Gain branch([[maybe_unused]] const Position& position) {
  if constexpr (detail::HasBranch<Scheme>::value) {
    return Scheme::branch(position);
  } else {
    return Gain::one();
  }
}

/// The factor on a matrix of that role, beside the same matrix drawn by Xavier's rule.
template <typename Scheme>
double init_factor([[maybe_unused]] Role role, [[maybe_unused]] const Position& position) {
  if constexpr (detail::HasInitFactor<Scheme>::value) {
    return Scheme::init_factor(role, position);
  } else {
    return 1.0;
  }
}

}  // namespace evenkeel::scheme
