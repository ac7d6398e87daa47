// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/plain_residual.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/residual_node.hpp>
#include <evenkeel/kernels/fused_residual_switch.hpp>
#include <evenkeel/kernels/residual_terms.hpp>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <utility>

namespace evenkeel::detail {

/// By one kernel where there is one, by operators elsewhere.
inline JoinedResidual join_residual(const ResidualTerms& terms,
                                    const ResidualNorm& norm,
                                    bool want_sum) {
  auto call = fused_residual_enabled() ? kernel_call(terms, norm, want_sum) : std::nullopt;
  if (call && terms.x.is_cuda()) {
    call->kernel = cuda::Kernel::find(call->form);
    if (call->kernel == nullptr) call.reset();  // a warning has said why
  }
  if (!call) {
    auto sum = plain_sum(terms);
    if (norm.kind == NormKind::kNone) return {sum, {}};
    auto y = plain_norm(sum, norm);
    return {sum, y};
  }
  bool differentiated = false;
  for (const auto* input : call->inputs()) {
    differentiated = differentiated || (input->defined() && input->requires_grad());
  }
  if (differentiated && at::GradMode::is_enabled()) return ResidualNode::run(*std::move(call));
  return forward_by_kernel(*call, /*saved=*/nullptr);
}

}  // namespace evenkeel::detail
