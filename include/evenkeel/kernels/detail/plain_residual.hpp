// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/kernels/residual_terms.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <optional>

namespace evenkeel::detail {

/// x * gain in the dtype of x: a float32 gain of one dimension would promote a half x.
inline at::Tensor apply_gain(const at::Tensor& x, const at::Tensor& gain) {
  return gain.defined() ? x * gain.to(x.scalar_type()) : x;
}

/// shortcut * x + branch * dropout(f_x + bias), one operator after the other; what is undefined
/// costs nothing.
inline at::Tensor plain_sum(const ResidualTerms& terms) {
  auto f_x = terms.f_x;
  if (terms.bias.defined()) f_x = f_x + terms.bias.to(f_x.scalar_type());
  if (terms.dropout > 0.0) f_x = at::dropout(f_x, terms.dropout, /*train=*/true);
  const auto branch = apply_gain(f_x, terms.branch);
  return terms.has_shortcut ? apply_gain(terms.x, terms.shortcut) + branch : branch;
}

/// The norm of a sum, one operator after the other.
inline at::Tensor plain_norm(const at::Tensor& sum, const ResidualNorm& norm) {
  const auto optional = [](const at::Tensor& tensor) {
    return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
  };
  switch (norm.kind) {
    case NormKind::kLayerNorm:
      return at::layer_norm(sum,
                            {sum.size(-1)},
                            optional(norm.weight),
                            optional(norm.bias),
                            norm.eps);
    case NormKind::kRmsNorm: {
      const auto wide = sum.scalar_type() == at::kDouble ? sum : sum.to(at::kFloat);
      const auto scale = (wide.square().mean(-1, /*keepdim=*/true) + norm.eps).rsqrt();
      const auto normed = (wide * scale).to(sum.scalar_type());
      return apply_gain(normed, norm.weight);
    }
    default:
      TORCH_CHECK(norm.kind == NormKind::kNone,
                  "fused_residual: expected a norm of kind LayerNorm, RMSNorm or none, but got ",
                  to_string(norm.kind));
      return sum;
  }
}

}  // namespace evenkeel::detail
