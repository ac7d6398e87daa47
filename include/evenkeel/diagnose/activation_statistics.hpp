// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace evenkeel {

/// What the activations X (tokens, features) of a layer look like. With s_j^2 the mean over tokens
/// of the squares of feature j, each token centred over its features as LayerNorm does:
///
///     rms = sqrt(mean_j s_j^2),   kurtosis = var_j(s_j^2) / (mean_j s_j^2)^2
///
/// with the unbiased variance over the d features. kurtosis is 0 where all features are alike and d
/// where one of them holds everything: it shows outliers. Source: bobby-he/simplified_transformers,
/// whose x_rms, kurtosis and correlations these are.
struct ActivationStatistics {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  double rms = kNone;
  double kurtosis = kNone;
  double outlier_ratio = kNone;  ///< max_j s_j / median_j s_j
  /// Root mean square of the cosines of pairs of features over tokens: 0 if they are independent,
  /// 1 if all are one.
  double feature_correlation = kNone;
  /// Mean of the cosines of pairs of tokens over features: 1 if all tokens are alike, that is if
  /// the rank has collapsed.
  double token_correlation = kNone;
  /// Share of the values, not centred, that are not finite or above 32,768, half of what float16
  /// holds.
  double near_overflow = kNone;
};

namespace detail {

/// Activations (*, features) as (tokens, features) without autograd: at most `most` tokens, evenly
/// spaced, in float32 or wider.
inline torch::Tensor token_rows(const torch::Tensor& activations, int64_t most) {
  auto rows = activations.detach().flatten(0, -2);
  const auto stride = (rows.size(0) + most - 1) / most;
  if (stride > 1) rows = rows.slice(0, 0, rows.size(0), stride);
  return rows.to(rows.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32);
}

/// Each vector along `dim` divided by its length.
inline torch::Tensor unit(const torch::Tensor& of, int64_t dim) {
  const auto norm = of.norm(2, {dim}, /*keepdim=*/true);
  return of / norm.clamp_min(std::numeric_limits<float>::min());
}

/// `ActivationStatistics::token_correlation` of rows (tokens, features), in float64: what is left
/// of 1 once tokens look alike is small.
inline torch::Tensor token_correlation(const torch::Tensor& rows) {
  const auto x = rows.to(torch::kFloat64);
  const auto tokens = static_cast<double>(x.size(0));
  const auto sum = unit(x - x.mean(1, /*keepdim=*/true), 1).sum(0);
  return (sum.square().sum() - tokens) / (tokens * (tokens - 1.0));
}

/// The statistics of rows (tokens, features) as a tensor (6) on their device, in the order of
/// `ActivationStatistics`.
inline torch::Tensor statistics_tensor(const torch::Tensor& rows) {
  constexpr double kNearOverflow = 32768.0;
  const torch::NoGradGuard no_grad;
  const auto overflow = rows.isfinite().logical_not().logical_or(rows.abs() > kNearOverflow);
  const auto x = rows - rows.mean(1, /*keepdim=*/true);
  const auto tokens = static_cast<double>(x.size(0));
  const auto features = static_cast<double>(x.size(1));
  const auto squares = x.square().mean(0);
  const auto mean = squares.mean();
  const auto spread = squares.numel() > 1 ? squares.var() : torch::zeros_like(mean);
  const auto deviations = squares.sqrt();
  const auto columns = unit(x, 0);
  // |C^T C|^2 = |C C^T|^2: the smaller of the two matrices
  const auto products =
      tokens < features ? columns.matmul(columns.t()) : columns.t().matmul(columns);
  const auto of_features = (products.square().sum() - features) / (features * (features - 1.0));
  return torch::stack({mean.sqrt(),
                       torch::where(mean > 0, spread / mean.square(), torch::zeros_like(mean)),
                       deviations.max() / deviations.median(),
                       of_features.clamp_min(0.0).sqrt(),
                       token_correlation(rows).to(x.scalar_type()),
                       overflow.to(x.scalar_type()).mean()})
      .to(torch::kFloat64);
}

/// The same as plain data, from a tensor on the CPU.
inline ActivationStatistics statistics_from(const torch::Tensor& values) {
  const auto at = values.accessor<double, 1>();
  return {at[0], at[1], at[2], at[3], at[4], at[5]};
}

}  // namespace detail

/// The statistics of activations (*, features), in float64. Throws for a tensor without a dimension
/// of tokens and one of features.
inline ActivationStatistics activation_statistics(const torch::Tensor& activations) {
  TORCH_CHECK(activations.defined() && activations.dim() >= 2 && activations.numel() > 0,
              "activation_statistics: expected activations of shape (*, features), but got ",
              activations.defined() ? activations.sizes() : torch::IntArrayRef());
  const auto rows = activations.detach().to(torch::kFloat64).flatten(0, -2);
  return detail::statistics_from(detail::statistics_tensor(rows).to(torch::kCPU));
}

/// The entropy -sum_s a_s ln a_s of attention weights (B, num_heads, T, S), in nats: the mean over
/// queries of each head, (num_heads). Weights below 0, which shaped attention has, have none. A
/// head that looks at one token has 0, one that looks at S alike ln S.
/// Source: bobby-he/simplified_transformers.
inline torch::Tensor attention_entropy(const torch::Tensor& weights) {
  const torch::NoGradGuard no_grad;
  const auto a = weights.detach().to(torch::kFloat32).clamp_min(0.0);
  return -at::xlogy(a, a).sum(-1).mean(std::vector<int64_t>{0, 2});
}

}  // namespace evenkeel
