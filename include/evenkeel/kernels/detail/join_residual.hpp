// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/plain_residual.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/residual_compute.hpp>
#include <evenkeel/kernels/detail/residual_function.hpp>
#include <evenkeel/kernels/fused_residual_switch.hpp>
#include <evenkeel/kernels/residual_terms.hpp>

#include <ATen/ATen.h>
#include <ATen/TensorSubclassLikeUtils.h>
#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <optional>

namespace evenkeel::detail {

/// What a residual gives: the norm of the sum, and the sum where it is wanted or there is no norm.
struct JoinedResidual {
  at::Tensor sum;
  at::Tensor y;
};

/// The call of a kernel, if one does what is asked for.
inline std::optional<ResidualCall> kernel_call(const ResidualTerms& terms,
                                               const ResidualNorm& norm,
                                               bool want_sum) {
  constexpr int64_t kMostColumns = 16384;
  const auto& x = terms.x;
  const auto& f = terms.f_x;
  if (!(x.is_cuda() || x.is_cpu()) || x.dim() == 0 || x.sizes() != f.sizes()) return std::nullopt;
  const int64_t dim = x.size(-1);
  if (x.numel() == 0 || dim > kMostColumns) return std::nullopt;
  const auto known = [&](const at::Tensor& tensor) {
    return type_code(tensor.scalar_type()) >= 0 && tensor.device() == x.device() &&
           tensor.layout() == at::kStrided && !at::isTensorSubclassLike(tensor) &&
           !tensor.is_neg() && !tensor._is_zerotensor() &&
           !tensor._fw_grad(/*level=*/0).defined();  // operators know forward mode
  };
  const auto parameter = [&](const at::Tensor& tensor, bool may_be_one_number) {
    return !tensor.defined() ||
           (known(tensor) && tensor.dim() == 1 &&
            (tensor.numel() == dim || (may_be_one_number && tensor.numel() == 1)));
  };
  if (!known(x) || !known(f) || !parameter(terms.shortcut, true) ||
      !parameter(terms.branch, true) || !parameter(terms.bias, false) ||
      !parameter(norm.weight, false) || !parameter(norm.bias, false)) {
    return std::nullopt;
  }
  // A norm's weight and bias share one type, as they do in every norm that is a module.
  if (norm.weight.defined() && norm.bias.defined() &&
      norm.weight.scalar_type() != norm.bias.scalar_type()) {
    return std::nullopt;
  }
  const bool has_norm = norm.kind != NormKind::kNone;
  if (!has_norm && !terms.shortcut.defined() && !terms.branch.defined() && !terms.bias.defined() &&
      terms.dropout == 0.0) {
    return std::nullopt;  // x + f is one kernel already
  }
  ResidualCall call{x, f, terms.shortcut, terms.branch, terms.bias, {}, {}, {}};
  if (has_norm) {
    call.w = norm.weight;
    call.beta = norm.bias;
  }
  auto& settings = call.settings;
  settings.eps = static_cast<float>(norm.eps);
  settings.set_dropout(terms.dropout);
  settings.norm = static_cast<uint32_t>(norm.kind);
  settings.want_sum = want_sum;
  const auto sum_type = c10::promoteTypes(x.scalar_type(), f.scalar_type());
  // Autocast has LayerNorm on its list of what runs in float32, on CUDA.
  const bool widened = x.is_cuda() && norm.kind == NormKind::kLayerNorm &&
                       at::autocast::is_autocast_enabled(at::kCUDA);
  settings.sum = static_cast<uint32_t>(type_code(sum_type));
  settings.y = widened ? 0U : settings.sum;
  return call;
}

/// By one kernel where there is one, by operators elsewhere.
inline JoinedResidual join_residual(const ResidualTerms& terms,
                                    const ResidualNorm& norm,
                                    bool want_sum) {
  if (fused_residual_enabled()) {
    if (auto call = kernel_call(terms, norm, want_sum)) {
      if (has_kernel(*call)) {
        bool differentiated = false;
        for (auto* tensor :
             {&call->x, &call->f, &call->a, &call->b, &call->c, &call->w, &call->beta}) {
          *tensor = aligned(*tensor);
          differentiated = differentiated || (tensor->defined() && tensor->requires_grad());
        }
        if (!differentiated || !at::GradMode::is_enabled()) {
          auto outputs = residual_forward(*call, /*save=*/false);
          return {outputs.sum, outputs.y};
        }
        const auto outputs = ResidualFunction::run(*call);
        const bool has_norm = call->settings.has_norm();
        return {call->settings.has_sum() ? outputs.front() : at::Tensor(),
                has_norm ? outputs.back() : at::Tensor()};
      }
    }
  }
  auto sum = plain_sum(terms);
  if (norm.kind == NormKind::kNone) return {sum, {}};
  auto y = plain_norm(sum, norm);
  return {sum, y};
}

}  // namespace evenkeel::detail
