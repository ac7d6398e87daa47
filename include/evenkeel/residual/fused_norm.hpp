// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/residual_terms.hpp>

#include <torch/nn/modules/normalization.h>

#include <optional>

namespace evenkeel {

/// Declares a norm's module to the fused residual. A norm without a specialisation is not fused: it
/// runs after the sum. For a custom RMSNorm:
///
///     template <>
///     struct evenkeel::FusedNorm<MyRmsNorm> {
///       static std::optional<ResidualNorm> of(const MyRmsNormImpl& norm) {
///         return ResidualNorm::rms_norm(norm.weight, norm.eps);
///       }
///     };
///
/// `of` returns nullopt if this particular module cannot be fused.
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
