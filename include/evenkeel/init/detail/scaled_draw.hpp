// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>
#include <evenkeel/core/draw.hpp>
#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/position.hpp>
#include <evenkeel/init/apply_init.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>

namespace evenkeel::detail {

/// Whether equal gains of two distributions mean equal standard deviations.
constexpr bool same_deviation(Distribution a, Distribution b) {
  const auto is_xavier = [](Distribution distribution) {
    return distribution == Distribution::kXavierUniform ||
           distribution == Distribution::kXavierNormal;
  };
  return a == b || (is_xavier(a) && is_xavier(b));
}

/// The draws of a scheme as factors on weights that were drawn plainly: each matrix from the
/// distribution of `plain_draw`, a separate one with gain 1. A part of a packed matrix has the gain
/// of `plain_draw`, because the whole was drawn as one. Parameters that the scheme draws plainly
/// are kept.
inline DrawOfParameter scaled_draw(const Scheme& scheme) {
  return [&scheme](const ParameterRole& parameter, const Position& position) {
    const auto plain = plain_draw(parameter.role);
    const auto drawn = scheme.draw(parameter.role, position);
    if (drawn == plain) return Draw::keep();
    if (drawn.distribution == Distribution::kKeep || drawn.distribution == Distribution::kZero) {
      return drawn;
    }
    TORCH_CHECK(same_deviation(drawn.distribution, plain.distribution),
                "SchemeInit<",
                scheme.title,
                ">: expected a draw of ",
                parameter.name,
                " that is a factor on its existing weights, as redraw(false) scales them, but the "
                "scheme's is ",
                to_string(drawn.distribution),
                " where a plain one is ",
                to_string(plain.distribution),
                "; use redraw(true)");
    const double drawn_with = parameter.packed() ? plain.gain : 1.0;
    return Draw::keep(drawn.gain / drawn_with);
  };
}

}  // namespace evenkeel::detail
