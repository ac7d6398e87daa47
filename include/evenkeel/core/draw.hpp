// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>

namespace evenkeel {

/// The distribution from which a parameter is initialised.
enum class Distribution {
  kXavierUniform,  ///< U(-b, b), b = gain * sqrt(6 / (fan_in + fan_out))
  kXavierNormal,   ///< N(0, s^2), s = gain * sqrt(2 / (fan_in + fan_out))
  kFanInNormal,    ///< N(0, s^2), s = gain / sqrt(fan_in); for an embedding, fan_in is embed_dim
  kFanInUniform,   ///< U(-b, b), b = gain / sqrt(fan_in): torch::nn::Linear's with gain 1
  kFanOutNormal,   ///< N(0, s^2), s = gain / sqrt(fan_out)
  kNormal,         ///< N(0, gain^2)
  kUniform,        ///< U(-gain, gain)
  kZero,           ///< 0
  kKeep,           ///< The existing values, times gain.
};

constexpr const char* to_string(Distribution distribution) {
  switch (distribution) {
    case Distribution::kXavierUniform:
      return "Xavier uniform";
    case Distribution::kXavierNormal:
      return "Xavier normal";
    case Distribution::kFanInNormal:
      return "fan-in normal";
    case Distribution::kFanInUniform:
      return "fan-in uniform";
    case Distribution::kFanOutNormal:
      return "fan-out normal";
    case Distribution::kNormal:
      return "normal";
    case Distribution::kUniform:
      return "uniform";
    case Distribution::kZero:
      return "zero";
    case Distribution::kKeep:
      return "kept";
  }
  return "?";
}

namespace detail {

/// Whether the scale of a distribution depends on the matrix's fans.
constexpr bool reads_fans(Distribution distribution) {
  switch (distribution) {
    case Distribution::kXavierUniform:
    case Distribution::kXavierNormal:
    case Distribution::kFanInNormal:
    case Distribution::kFanInUniform:
    case Distribution::kFanOutNormal:
      return true;
    default:
      return false;
  }
}

}  // namespace detail

/// How a parameter is initialised: a distribution and its gain. A gain means the same for a
/// separate matrix and for a part of a packed one: the fans are those of the part, such as the
/// value rows of an in_proj_weight.
struct Draw {
  Distribution distribution = Distribution::kKeep;
  double gain = 1.0;
  bool scales_bias = false;  ///< For kKeep: the bias of the matrix is multiplied by gain too.

  static constexpr Draw xavier_uniform(double gain = 1.0) {
    return {Distribution::kXavierUniform, gain};
  }
  static constexpr Draw xavier_normal(double gain = 1.0) {
    return {Distribution::kXavierNormal, gain};
  }
  static constexpr Draw fan_in_normal(double gain = 1.0) {
    return {Distribution::kFanInNormal, gain};
  }
  static constexpr Draw fan_in_uniform(double gain = 1.0) {
    return {Distribution::kFanInUniform, gain};
  }
  static constexpr Draw fan_out_normal(double gain = 1.0) {
    return {Distribution::kFanOutNormal, gain};
  }
  static constexpr Draw normal(double standard_deviation) {
    return {Distribution::kNormal, standard_deviation};
  }
  static constexpr Draw uniform(double bound) { return {Distribution::kUniform, bound}; }
  static constexpr Draw zero() { return {Distribution::kZero, 0.0}; }
  static constexpr Draw keep(double factor = 1.0) { return {Distribution::kKeep, factor}; }

  /// The same draw, which multiplies the bias of the matrix by its gain too.
  constexpr Draw with_bias() const { return {distribution, gain, true}; }

  friend constexpr bool operator==(const Draw& a, const Draw& b) {
    return a.distribution == b.distribution && a.gain == b.gain && a.scales_bias == b.scales_bias;
  }
  friend constexpr bool operator!=(const Draw& a, const Draw& b) { return !(a == b); }
};

/// fairseq's initialisation of a Transformer, the default of schemes: query, key and value are
/// Xavier uniform with gain 1/sqrt(2), as the parts of a packed (3d, d) matrix; attention output
/// and feed-forward are Xavier uniform; embeddings, learned positions and head are N(0, 1/d);
/// biases are 0. Norms, gains and other parameters are not changed.
constexpr Draw plain_draw(Role role) {
  constexpr double kPackedGain = 0.70710678118654752440;  // 1/sqrt(2)
  switch (role) {
    case Role::kQuery:
    case Role::kKey:
    case Role::kValue:
      return Draw::xavier_uniform(kPackedGain);
    case Role::kAttentionOutput:
    case Role::kFeedForwardIn:
    case Role::kFeedForwardOut:
      return Draw::xavier_uniform();
    case Role::kEmbedding:
    case Role::kPosition:
    case Role::kHead:
      return Draw::fan_in_normal();
    case Role::kBias:
      return Draw::zero();
    default:
      return Draw::keep();
  }
}

namespace detail {

/// Whether a matrix is one of a layer.
constexpr bool of_layer(Role role) {
  switch (role) {
    case Role::kQuery:
    case Role::kKey:
    case Role::kValue:
    case Role::kAttentionOutput:
    case Role::kFeedForwardIn:
    case Role::kFeedForwardOut:
      return true;
    default:
      return false;
  }
}

/// Whether a matrix scales the output of its branch: all of a layer but query and key.
constexpr bool scales_branch(Role role) {
  return of_layer(role) && role != Role::kQuery && role != Role::kKey;
}

}  // namespace detail

}  // namespace evenkeel
