// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/plain_residual.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/residual_node.hpp>
#include <evenkeel/kernels/detail/run_kernel.hpp>
#include <evenkeel/kernels/fused_residual_switch.hpp>
#include <evenkeel/kernels/residual_terms.hpp>

#include <utility>

namespace evenkeel::detail {

/// By one kernel where there is one, by operators elsewhere.
inline JoinedResidual join_residual(const ResidualTerms& terms,
                                    const ResidualNorm& norm,
                                    bool want_sum) {
  if (fused_residual_enabled()) {
    auto call = kernel_call(terms, norm, want_sum);
    if (call && find_kernel(*call)) return ResidualNode::run(*std::move(call));
  }
  auto sum = plain_sum(terms);
  if (norm.kind == NormKind::kNone) return {sum, {}};
  auto y = plain_norm(sum, norm);
  return {sum, y};
}

}  // namespace evenkeel::detail
