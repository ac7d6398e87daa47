// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/residual_terms.hpp>
#include <evenkeel/residual/detail/join.hpp>

#include <torch/types.h>

#include <optional>
#include <utility>

namespace evenkeel {

/// The residual stream between two sub-layers. Where norms stand before the branch, the sum with
/// which one sub-layer ends waits here for the norm with which the next begins, so that both are
/// one kernel:
///
///     ResidualStream stream = x;
///     for (auto& layer : layers) stream = layer->residual->around(stream, layer->branch);
///     y = stream.normed(final_norm);
///
/// Shapes: as the tensors', (*, embed_dim).
class ResidualStream {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a tensor is a stream
  ResidualStream(torch::Tensor x) : sum_(std::move(x)) {}
  /// A sum that is made when it is asked for.
  explicit ResidualStream(ResidualTerms terms) : terms_(std::move(terms)) {}

  /// What the stream carries.
  const torch::Tensor& sum() {
    if (terms_) {
      sum_ = detail::join(*terms_);
      terms_.reset();
    }
    return sum_;
  }

  /// norm(sum()), in the kernel that makes the sum if it is still to be made.
  template <typename Norm>
  torch::Tensor normed(Norm& norm) {
    if (!terms_) return norm->forward(sum_);
    auto both = detail::join(*terms_, norm, /*want_sum=*/true);
    sum_ = std::move(both.sum);
    terms_.reset();
    return std::move(both.y);
  }

 private:
  torch::Tensor sum_;
  std::optional<ResidualTerms> terms_;
};

}  // namespace evenkeel
