// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/residual_terms.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/detail/join.hpp>

#include <torch/types.h>

#include <memory>
#include <utility>

namespace evenkeel {

/// The residual stream between two sub-layers. Where norms stand at the branch's input, the sum
/// with which one sub-layer ends waits here for the norm with which the next begins, so that both
/// are one kernel:
///
///     ResidualStream stream = x;
///     for (auto& layer : layers) stream = layer->residual->apply_branch(stream, layer->branch);
///     y = stream.normed(final_norm);
///
/// Copies are one stream: its sum is made once, with one dropout mask, whichever is asked first.
/// Shapes: as the tensors', (*, embed_dim).
class ResidualStream {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a tensor is a stream
  ResidualStream(torch::Tensor x) : sum_(std::move(x)) {}
  /// A sum that is made when it is asked for.
  explicit ResidualStream(ResidualTerms terms)
      : pending_(std::make_shared<Pending>(Pending{std::move(terms), {}})) {}

  /// What the stream carries.
  const torch::Tensor& sum() {
    if (pending_ != nullptr) {
      if (!pending_->sum.defined()) pending_->finish(detail::join(pending_->terms));
      sum_ = pending_->sum;
      pending_ = nullptr;
    }
    return sum_;
  }

  /// gain * norm(sum()), in the kernel that makes the sum if it is still to be made.
  torch::Tensor normed(const AnyNorm& norm, double gain = 1.0) {
    if (pending_ == nullptr || pending_->sum.defined()) return detail::normed(sum(), norm, gain);
    auto both = detail::join(pending_->terms, norm, gain, /*want_sum=*/true);
    pending_->finish(std::move(both.sum));
    sum();
    return std::move(both.y);
  }

 private:
  struct Pending {
    ResidualTerms terms;
    torch::Tensor sum;

    void finish(torch::Tensor made) {
      sum = std::move(made);
      terms = {};
    }
  };

  torch::Tensor sum_;
  std::shared_ptr<Pending> pending_;
};

}  // namespace evenkeel
