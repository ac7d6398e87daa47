// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/draw.hpp>
#include <evenkeel/core/position.hpp>
#include <evenkeel/residual/detail/answers.hpp>
#include <evenkeel/residual/gain.hpp>
#include <evenkeel/residual/norms.hpp>
#include <evenkeel/residual/stream_kind.hpp>

#include <functional>
#include <string>
#include <type_traits>

namespace evenkeel {

/// A scheme defines how the residual sub-layers of a model are built and initialised:
///
///     x = stream_norm(x)
///     y = sum_norm( shortcut * x + branch * branch_norm( f( input_norm(x) ) ) )
///
/// namely the norm placement, the gains, and the initialisation of all parameters. Blocks,
/// initialisation and measurements work with any scheme. A scheme is written as a struct
///
///     struct Admin {  // y = norm(omega * x + f(x))
///       static Norms norms(const Position&) { return Norms::at_sum(); }
///       static Gain shortcut(const Position& position) {
///         return Gain::trained(omega_init(position.num_res_layers), GainShape::kPerChannel);
///       }
///     };
///
/// which `scheme_of<Admin>()` converts to this value. If a scheme depends on data, such as a file,
/// assign the members directly. Each member has a default.
struct Scheme {
  std::string name = "user";            ///< For options, tables and files, e.g. `admin-o1`.
  std::string title = "user's scheme";  ///< As its paper writes it, e.g. `Admin O(1)`.
  std::string summary;                  ///< A one-line description.
  bool warmup = true;                   ///< Whether training uses learning-rate warm-up.
  bool profiled = false;                ///< Whether `profile_admin` sets the gains before training.
  StreamKind stream = StreamKind::kPlain;  ///< Whether a second stream runs beside x.

  /// Norm placement. Default: no norms
  std::function<Norms(const Position&)> norms = [](const Position&) { return Norms::none(); };
  /// Gain of the shortcut. Default: 1
  std::function<Gain(const Position&)> shortcut = [](const Position&) { return Gain::one(); };
  /// Gain of the branch. Default: 1
  std::function<Gain(const Position&)> branch = [](const Position&) { return Gain::one(); };
  /// Gain of the output of every attention head, as NormFormer has it: one value per head, in
  /// place of channel. Default: 1
  std::function<Gain(const Position&)> head_gain = [](const Position&) { return Gain::one(); };
  /// Factor on the output of every norm. Default: 1
  std::function<double(const Position&)> norm_gain = [](const Position&) { return 1.0; };
  /// Initialisation of a parameter of the given role. Default: `plain_draw(role)`
  std::function<Draw(Role, const Position&)> draw = [](Role role, const Position&) {
    return plain_draw(role);
  };
};

/// Returns the scheme that a struct defines with these static members, of which only `norms` is
/// required:
///
///     static Norms norms(const Position&)
///     static Gain shortcut(const Position&)
///     static Gain branch(const Position&)
///     static double norm_gain(const Position&)
///     static Gain head_gain(const Position&)
///     static Draw draw(Role, const Position&)
///     static constexpr const char *kName, *kTitle, *kSummary
///     static constexpr bool kWarmup, kProfiled
///     static constexpr StreamKind kStream
///
/// A member with another signature does not compile, nor does one whose name is a common
/// misspelling.
template <typename S>
Scheme scheme_of() {
  static_assert(!std::is_same_v<S, Scheme>,
                "name a scheme, as in Residual<evenkeel::Admin>(options), or pass one: "
                "Residual<>(find_scheme(\"admin\"), options)");
  static_assert(detail::check_answers<S>());
  Scheme scheme;
  scheme.norms = [](const Position& position) { return S::norms(position); };
  if constexpr (detail::HasMember_shortcut<S>::value) {
    scheme.shortcut = [](const Position& position) { return S::shortcut(position); };
  }
  if constexpr (detail::HasMember_branch<S>::value) {
    scheme.branch = [](const Position& position) { return S::branch(position); };
  }
  if constexpr (detail::HasMember_norm_gain<S>::value) {
    scheme.norm_gain = [](const Position& position) { return S::norm_gain(position); };
  }
  if constexpr (detail::HasMember_head_gain<S>::value) {
    scheme.head_gain = [](const Position& position) { return S::head_gain(position); };
  }
  if constexpr (detail::HasMember_draw<S>::value) {
    scheme.draw = [](Role role, const Position& position) { return S::draw(role, position); };
  }
  if constexpr (detail::HasMember_kName<S>::value) scheme.name = scheme.title = S::kName;
  if constexpr (detail::HasMember_kTitle<S>::value) scheme.title = S::kTitle;
  if constexpr (detail::HasMember_kSummary<S>::value) scheme.summary = S::kSummary;
  if constexpr (detail::HasMember_kWarmup<S>::value) scheme.warmup = S::kWarmup;
  if constexpr (detail::HasMember_kProfiled<S>::value) scheme.profiled = S::kProfiled;
  if constexpr (detail::HasMember_kStream<S>::value) scheme.stream = S::kStream;
  return scheme;
}

}  // namespace evenkeel
