// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/attention_options.hpp>
#include <evenkeel/nn/projection.hpp>
#include <evenkeel/nn/reparam_linear.hpp>
#include <evenkeel/residual/gain.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>

#include <cmath>
#include <cstdint>
#include <utility>

namespace evenkeel::nn {

/// Options for `ShapedAttention`, e.g. `ShapedAttentionOptions(512,
/// 8).value(Projection::linear())`.
struct ShapedAttentionOptions {
  ShapedAttentionOptions(int64_t embed_dim, int64_t num_heads) : attention_(embed_dim, num_heads) {}
  /// With what other attention has too: key and value heads, bias, norms, dropout. Projections are
  /// never packed.
  explicit ShapedAttentionOptions(MultiHeadAttentionOptions attention)
      : attention_(std::move(attention)) {}

  /// The options that any attention has.
  TORCH_ARG(MultiHeadAttentionOptions, attention);
  /// The gain of the identity; one per channel is one per head. Default: 1, trained, per head
  TORCH_ARG(Gain, alpha) = Gain::trained(1.0, GainShape::kPerChannel);
  /// The gain of the softmax. Default: 1, trained, per head
  TORCH_ARG(Gain, beta) = Gain::trained(1.0, GainShape::kPerChannel);
  /// The gain of the mean that is subtracted. Default: 1, trained, per head
  TORCH_ARG(Gain, gamma) = Gain::trained(1.0, GainShape::kPerChannel);
  /// Whether there is the term alpha * I. It needs a key for every query, which cross-attention
  /// does not have. Default: true
  TORCH_ARG(bool, identity) = true;
  /// Whether there is the term -gamma * C. Default: true
  TORCH_ARG(bool, centred) = true;
  /// The value matrix. Default: none
  TORCH_ARG(Projection, value) = Projection::identity();
  /// The output matrix. Default: none
  TORCH_ARG(Projection, output) = Projection::identity();
  /// Whether the query matrix begins at 0, whatever the scheme. Default: true
  TORCH_ARG(bool, zero_query) = true;
  /// Softmax of c * tanh(scores / c) for a cap c > 0. Default: 0, no cap
  TORCH_ARG(double, soft_cap) = 0.0;
};

namespace detail {

inline void check(const ShapedAttentionOptions& options) {
  const auto& attention = options.attention();
  TORCH_CHECK(options.soft_cap() >= 0.0 && std::isfinite(options.soft_cap()),
              "ShapedAttention: expected soft_cap > 0, or 0 for none, but got ",
              options.soft_cap());
  const auto& value = options.value();
  TORCH_CHECK(
      (value.kind != Projection::Kind::kIdentity &&
       !(value.kind == Projection::Kind::kReparam && value.init == MatrixInit::kIdentity)) ||
          attention.kv_heads() == attention.num_heads(),
      "ShapedAttention: expected as many key and value heads as num_heads, ",
      attention.num_heads(),
      ", for an identity value, but got ",
      attention.kv_heads(),
      "; pass value(Projection::linear())");
  for (const auto& gain : {options.alpha(), options.beta(), options.gamma()}) {
    TORCH_CHECK(gain.kind != Gain::Kind::kRamp,
                "ShapedAttention: expected gains that do not follow the training step, but got a "
                "ramp");
  }
}

}  // namespace detail

}  // namespace evenkeel::nn
