// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/sublayer.hpp>
#include <evenkeel/diagnose/detail/admin_profiler.hpp>
#include <evenkeel/kernels/residual_terms.hpp>
#include <evenkeel/residual/admin_residual.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/residual.hpp>
#include <evenkeel/residual/rms_norm.hpp>

#include <torch/nn/module.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <memory>
#include <optional>

namespace evenkeel::detail {

/// How one sub-layer joins shortcut and branch: y = sum_norm(shortcut * x + branch_gain * f), with
/// f read from input_norm(x). Undefined gains are 1.
struct SublayerParts {
  torch::Tensor shortcut;
  torch::Tensor branch_gain;
  bool has_shortcut = true;
  double norm_gain = 1.0;
  std::shared_ptr<torch::nn::Module> stream_norm, input_norm, branch_norm, sum_norm;
  bool plain_stream = true;  ///< Whether x is the only stream.
};

/// The parts of a sub-layer, as the anatomy describes them and its residual has them.
inline SublayerParts parts_of(const Sublayer& sublayer, const torch::nn::Module* residual) {
  SublayerParts parts;
  for (const auto& gain : sublayer.gains) {
    if (gain.slot == GainSlot::kShortcut) parts.shortcut = gain.tensor;
    if (gain.slot == GainSlot::kBranch) parts.branch_gain = gain.tensor;
  }
  for (const auto& norm : sublayer.norms) {
    if (norm.slot == NormSlot::kStream) parts.stream_norm = norm.module;
    if (norm.slot == NormSlot::kInput) parts.input_norm = norm.module;
    if (norm.slot == NormSlot::kBranch) parts.branch_norm = norm.module;
    if (norm.slot == NormSlot::kSum) parts.sum_norm = norm.module;
  }
  if (const auto* own = dynamic_cast<const ResidualImpl*>(residual)) {
    parts.shortcut = own->omega;
    parts.branch_gain = own->gain_of_branch();
    parts.has_shortcut = own->has_shortcut();
    parts.norm_gain = own->norm_gain();
    parts.stream_norm = own->stream_norm.ptr();
    parts.input_norm = own->input_norm.ptr();
    parts.branch_norm = own->branch_norm.ptr();
    parts.sum_norm = own->sum_norm.ptr();
    parts.plain_stream = own->stream_kind() == StreamKind::kPlain;
  } else if (residual != nullptr) {
    parts.shortcut = omega_of(*residual);
    const auto* holder = dynamic_cast<const HasNorms*>(residual);
    if (holder != nullptr && !holder->norm_modules().empty()) {
      parts.sum_norm = holder->norm_modules().front();
    }
  }
  return parts;
}

/// A norm in numbers; nullopt if it is neither LayerNorm nor RMSNorm.
inline std::optional<ResidualNorm> numbers_of(const torch::nn::Module& norm) {
  if (const auto* layer = dynamic_cast<const torch::nn::LayerNormImpl*>(&norm)) {
    return FusedNorm<torch::nn::LayerNorm>::of(*layer);
  }
  if (const auto* rms = dynamic_cast<const RMSNormImpl*>(&norm)) {
    return FusedNorm<RMSNorm>::of(*rms);
  }
  return std::nullopt;
}

/// The linear part of a norm at the input s, applied to each of the components c of s: a norm
/// divides by one number a token, so that components that add up to s give components of its
/// output, less its bias. Another norm than LayerNorm and RMSNorm is taken for the identity.
/// Shapes: s (tokens, embed_dim), c (components, tokens, embed_dim).
inline torch::Tensor through_norm(const torch::Tensor& c,
                                  const torch::Tensor& s,
                                  const torch::nn::Module& norm,
                                  double gain) {
  const auto known = numbers_of(norm);
  if (!known) return c;
  const bool centres = known->kind == NormKind::kLayerNorm;
  const auto centred = centres ? s - s.mean(-1, /*keepdim=*/true) : s;
  const auto variance = centred.square().mean(-1, /*keepdim=*/true);
  auto y =
      (centres ? c - c.mean(-1, /*keepdim=*/true) : c) * (gain * (variance + known->eps).rsqrt());
  if (known->weight.defined()) y = y * known->weight.detach().to(y.scalar_type());
  return y;
}

}  // namespace evenkeel::detail
