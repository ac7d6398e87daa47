// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/residual_terms.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/detail/join.hpp>

#include <torch/types.h>

#include <memory>
#include <utility>

namespace evenkeel {

/// The residual stream between two sub-layers. With norms at the branch's input, it delays the sum
/// of one sub-layer until the norm of the next one, so that both run as one kernel:
///
///     ResidualStream stream = x;
///     for (auto& layer : layers) stream = layer->residual->apply_branch(stream, layer->branch);
///     y = stream.normed(final_norm);
///
/// Copies share one stream: its sum is computed once, with one dropout mask. A scheme with a second
/// stream, see `StreamKind`, keeps it here too. Shapes: (*, embed_dim).
class ResidualStream {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a tensor is a stream
  ResidualStream(torch::Tensor x) : sum_(std::move(x)) {}
  ResidualStream(torch::Tensor x, torch::Tensor second)
      : sum_(std::move(x)), second_(std::move(second)) {}
  /// A sum that is computed on first use.
  explicit ResidualStream(ResidualTerms terms)
      : pending_(std::make_shared<Pending>(Pending{std::move(terms), {}})) {}

  /// The value of the stream.
  const torch::Tensor& sum() {
    if (pending_ != nullptr) {
      if (!pending_->sum.defined()) pending_->finish(detail::join(pending_->terms));
      sum_ = pending_->sum;
      pending_ = nullptr;
    }
    return sum_;
  }

  /// The second stream; at the beginning of a stack it is the value of the stream.
  const torch::Tensor& second() { return second_.defined() ? second_ : sum(); }

  /// gain * norm(sum()), fused with the sum if that has not been computed yet.
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
  torch::Tensor second_;
  std::shared_ptr<Pending> pending_;
};

}  // namespace evenkeel
