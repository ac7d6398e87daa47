// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/join_residual.hpp>
#include <evenkeel/kernels/residual_terms.hpp>
#include <evenkeel/residual/fused_norm.hpp>

#include <torch/types.h>

#include <type_traits>
#include <utility>

namespace evenkeel::detail {

template <typename Norm, typename = void>
struct IsFusedNorm : std::false_type {};
template <typename Norm>
struct IsFusedNorm<
    Norm,
    std::void_t<decltype(FusedNorm<Norm>::of(*std::declval<typename Norm::ContainedType*>()))>>
    : std::true_type {};

/// shortcut * x + branch * dropout(f_x)
inline torch::Tensor join(const ResidualTerms& terms) {
  return join_residual(terms, {}, /*want_sum=*/false).sum;
}

/// The norm of that, in one kernel where the norm is one that it knows; and the sum itself where it
/// is wanted.
template <typename Norm>
JoinedResidual join(const ResidualTerms& terms, Norm& norm, bool want_sum) {
  if constexpr (IsFusedNorm<Norm>::value) {
    if (const auto known = FusedNorm<Norm>::of(*norm)) {
      return join_residual(terms, *known, want_sum);
    }
  }
  const auto sum = join(terms);
  return {sum, norm->forward(sum)};
}

}  // namespace evenkeel::detail
