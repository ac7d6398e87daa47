// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/reparam_linear.hpp>
#include <evenkeel/residual/gain.hpp>

#include <string>

namespace evenkeel::nn {

/// What stands for the value or the output matrix of a `ShapedAttention`.
struct Projection {
  enum class Kind { kIdentity, kLinear, kReparam };

  /// Nothing: no weights, no product.
  static constexpr Projection identity() { return {}; }
  /// A torch::nn::Linear.
  static constexpr Projection linear() { return {Kind::kLinear}; }
  /// A `ReparamLinear`: W = skip * W_init + resid * dW.
  static constexpr Projection reparam(MatrixInit init = MatrixInit::kIdentity,
                                      const Gain& skip = Gain::trained(1.0, GainShape::kScalar),
                                      const Gain& resid = Gain::trained(1.0, GainShape::kScalar)) {
    return {Kind::kReparam, init, skip, resid};
  }

  Kind kind = Kind::kIdentity;
  MatrixInit init = MatrixInit::kIdentity;
  Gain skip = Gain::one();
  Gain resid = Gain::one();
};

constexpr const char* to_string(Projection::Kind kind) {
  switch (kind) {
    case Projection::Kind::kIdentity:
      return "identity";
    case Projection::Kind::kLinear:
      return "linear";
    case Projection::Kind::kReparam:
      return "reparam";
  }
  return "?";
}

/// E.g. `reparam orthogonal`.
inline std::string to_string(const Projection& projection) {
  std::string text = to_string(projection.kind);
  if (projection.kind == Projection::Kind::kReparam) {
    text += std::string(" ") + to_string(projection.init);
  }
  return text;
}

}  // namespace evenkeel::nn
