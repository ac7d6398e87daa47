// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>

namespace evenkeel {

enum class GainShape { kScalar, kPerChannel };

/// The factor of a shortcut, a branch or the heads of an attention: none, a constant, a trained
/// scalar or vector, or one that follows the training step.
struct Gain {
  /// No gain: nothing is registered or multiplied.
  static constexpr Gain one() { return {}; }
  /// No shortcut, as if its factor were 0: nothing is registered, and it is not added.
  static constexpr Gain zero() { return {0.0, Kind::kZero}; }
  /// A constant, registered as a buffer of shape (1).
  static constexpr Gain fixed(double value) { return {value, Kind::kFixed}; }
  /// A parameter of shape (1) or (embed_dim), initialised to `value`.
  static constexpr Gain trained(double value, GainShape shape) {
    return {value, Kind::kTrained, shape};
  }
  /// A buffer of shape (1) that grows linearly to `value` in the first `steps` updates; training
  /// code calls `set_training_step`.
  static constexpr Gain ramp(double value, int64_t steps) {
    return {value, Kind::kRamp, GainShape::kScalar, steps};
  }

  /// The same gain, as one tensor for all sub-layers of a layer.
  constexpr Gain shared_in_layer() const {
    auto gain = *this;
    gain.shared = true;
    return gain;
  }

  /// The value before the update `step`, which counts from 1.
  constexpr double value_at(int64_t step) const {
    if (kind != Kind::kRamp) return value;
    const auto done = std::clamp<int64_t>(step, 1, std::max<int64_t>(ramp_steps, 1));
    return value * static_cast<double>(done) /
           static_cast<double>(std::max<int64_t>(ramp_steps, 1));
  }

  enum class Kind { kOne, kZero, kFixed, kTrained, kRamp };

  double value = 1.0;
  Kind kind = Kind::kOne;
  GainShape shape = GainShape::kScalar;
  int64_t ramp_steps = 0;
  bool shared = false;  ///< By the sub-layers of a layer.
};

}  // namespace evenkeel
