// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace evenkeel {

enum class GainShape { kScalar, kPerChannel };

/// The factor of a shortcut or a branch: none, a constant, or a trained scalar or vector.
struct Gain {
  /// No gain: nothing is registered or multiplied.
  static constexpr Gain one() { return {}; }
  /// A constant, registered as a buffer of shape (1).
  static constexpr Gain fixed(double value) { return {value, Kind::kFixed, GainShape::kScalar}; }
  /// A parameter of shape (1) or (embed_dim), initialised to `value`.
  static constexpr Gain trained(double value, GainShape shape) {
    return {value, Kind::kTrained, shape};
  }

  enum class Kind { kOne, kFixed, kTrained };

  double value = 1.0;
  Kind kind = Kind::kOne;
  GainShape shape = GainShape::kScalar;
};

}  // namespace evenkeel
