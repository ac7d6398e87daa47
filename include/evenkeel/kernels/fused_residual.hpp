// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/join_residual.hpp>
#include <evenkeel/kernels/fused_residual_switch.hpp>
#include <evenkeel/kernels/residual_terms.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <cstdint>

namespace evenkeel {

namespace detail {

inline void check_parameter(const char* name,
                            const at::Tensor& tensor,
                            int64_t embed_dim,
                            bool may_be_one_number) {
  if (!tensor.defined()) return;
  const bool fits = tensor.dim() == 1 &&
                    (tensor.numel() == embed_dim || (may_be_one_number && tensor.numel() == 1));
  TORCH_CHECK(fits,
              "fused_residual: expected ",
              name,
              " of shape ",
              may_be_one_number ? "[1] or [" : "[",
              embed_dim,
              "], but got ",
              tensor.sizes());
}

inline void check_residual(const ResidualTerms& terms, const ResidualNorm& norm) {
  TORCH_CHECK(terms.x.defined() && terms.f_x.defined(),
              "fused_residual: expected x and f_x, but got ",
              terms.x.defined()     ? "x alone"
              : terms.f_x.defined() ? "f_x alone"
                                    : "neither");
  TORCH_CHECK(terms.x.dim() > 0 && terms.x.sizes() == terms.f_x.sizes(),
              "fused_residual: expected x and f_x of one shape (*, embed_dim), but got ",
              terms.x.sizes(),
              " and ",
              terms.f_x.sizes());
  TORCH_CHECK(terms.x.device() == terms.f_x.device(),
              "fused_residual: expected x and f_x on one device, but got ",
              terms.x.device(),
              " and ",
              terms.f_x.device());
  TORCH_CHECK(terms.dropout >= 0.0 && terms.dropout < 1.0,
              "fused_residual: expected dropout in [0, 1), but got ",
              terms.dropout);
  const int64_t embed_dim = terms.x.size(-1);
  check_parameter("shortcut", terms.shortcut, embed_dim, true);
  check_parameter("branch", terms.branch, embed_dim, true);
  check_parameter("bias", terms.bias, embed_dim, false);
  check_parameter("the norm's weight", norm.weight, embed_dim, false);
  check_parameter("the norm's bias", norm.bias, embed_dim, false);
}

}  // namespace detail

/// The residual of every scheme in one kernel, and its backward in one pass over the tensors:
///
///     y = norm(shortcut * x + branch * dropout(f_x + bias))
///
///     auto y = fused_residual({x, f_x, omega}, ResidualNorm::layer_norm(weight, bias));
///
/// Gains that are not needed stay undefined; without a norm y is the sum. x may be float32 while
/// f_x is half, as under autocast: each gradient has the type of its tensor. Everything is computed
/// in float32. The dropout mask comes from the device's default generator and is drawn again in
/// backward. Where neither gain nor dropout stands, x and f_x have the same gradient, and autograd
/// gets one tensor for both, as it does from LibTorch's addition.
///
/// There are kernels for float32, bfloat16 and half, for up to 16384 columns, and for tensors of
/// any layout: one that is not contiguous is copied first. Those for CUDA are compiled when first
/// used and kept in $XDG_CACHE_HOME/evenkeel; those for the CPU are compiled with the program, for
/// AVX2, AVX-512 and the baseline, and picked when it runs. Elsewhere, where kernels cannot be
/// compiled, and when switched off (`set_fused_residual`), LibTorch's operators do the same; they
/// also do the backward of a backward, and forward mode. Gradients are the same in every run: no
/// sum depends on the order in which threads finish, nor on their number.
///
/// Throws c10::Error for tensors whose shapes or devices do not fit, a dropout outside [0, 1), and
/// a norm that is neither LayerNorm nor RMSNorm.
inline at::Tensor fused_residual(const ResidualTerms& terms, const ResidualNorm& norm = {}) {
  detail::check_residual(terms, norm);
  auto joined = detail::join_residual(terms, norm, /*want_sum=*/false);
  return norm.kind == NormKind::kNone ? joined.sum : joined.y;
}

/// What `fused_residual_and_norm` gives.
struct SumAndNorm {
  at::Tensor sum;     ///< What the next shortcut carries.
  at::Tensor normed;  ///< What the next branch reads.
};

/// The sum, and the norm with which the next sub-layer begins where norms stand before the branch:
///
///     sum = shortcut * x + branch * dropout(f_x + bias);  normed = norm(sum)
inline SumAndNorm fused_residual_and_norm(const ResidualTerms& terms, const ResidualNorm& norm) {
  detail::check_residual(terms, norm);
  TORCH_CHECK(norm.kind != NormKind::kNone,
              "fused_residual_and_norm: expected a norm, but got none");
  auto joined = detail::join_residual(terms, norm, /*want_sum=*/true);
  return {joined.sum, joined.y};
}

}  // namespace evenkeel
