// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/residual_terms.hpp>

#include <torch/nn/modules/normalization.h>

#include <optional>

namespace evenkeel {

/// How a norm's module is told to the fused residual. A norm without a specialisation is left as it
/// is: it reads the sum. For an RMSNorm of one's own:
///
///     template <>
///     struct evenkeel::FusedNorm<MyRmsNorm> {
///       static std::optional<ResidualNorm> of(const MyRmsNormImpl& norm) {
///         return ResidualNorm::rms_norm(norm.weight, norm.eps);
///       }
///     };
///
/// `of` gives nothing where this very module cannot be fused.
template <typename Norm>
struct FusedNorm {};

template <>
struct FusedNorm<torch::nn::LayerNorm> {
  static std::optional<ResidualNorm> of(const torch::nn::LayerNormImpl& norm) {
    if (norm.options.normalized_shape().size() != 1) return std::nullopt;
    return ResidualNorm::layer_norm(norm.weight, norm.bias, norm.options.eps());
  }
};

}  // namespace evenkeel
