// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <utility>

namespace evenkeel::detail {

/// A factor on the channels of the residual stream: float64 on the CPU, of shape (1) if it is the
/// same for all of them, otherwise (embed_dim).
class ChannelScale {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a number is a factor
  ChannelScale(double value = 1.0) : values_(at::full({1}, value, at::kDouble)) {}

  /// The values of a gain; 1 if it is undefined.
  static ChannelScale of(const torch::Tensor& gain) {
    if (!gain.defined()) return {};
    return ChannelScale(gain.detach().to(at::kCPU, at::kDouble).flatten().clone());
  }

  bool is_uniform() const { return values_.numel() == 1; }
  bool is_one() const { return is_uniform() && value() == 1.0; }
  /// The factor, if it is uniform.
  double value() const { return values_[0].item<double>(); }
  double smallest() const { return values_.min().item<double>(); }
  double largest() const { return values_.max().item<double>(); }
  bool has_zero() const { return values_.eq(0.0).any().item<bool>(); }
  bool is_finite() const { return values_.isfinite().all().item<bool>(); }
  const torch::Tensor& values() const { return values_; }

  ChannelScale operator*(const ChannelScale& other) const {
    return ChannelScale(values_ * other.values_);
  }
  ChannelScale operator/(const ChannelScale& other) const {
    return ChannelScale(values_ / other.values_);
  }

  /// Multiplies the columns of a matrix, or the elements of a vector, rounded once.
  void scale_columns(const torch::Tensor& tensor) const {
    if (tensor.defined() && !is_one()) write(tensor, values_);
  }
  /// Multiplies the rows of a matrix, or the elements of a vector.
  void scale_rows(const torch::Tensor& tensor) const {
    if (tensor.defined() && !is_one()) {
      write(tensor, tensor.dim() < 2 ? values_ : values_.unsqueeze(1));
    }
  }

 private:
  explicit ChannelScale(torch::Tensor values) : values_(std::move(values)) {
    if (values_.eq(values_[0]).all().item<bool>()) values_ = values_.slice(0, 0, 1).clone();
  }

  static void write(const torch::Tensor& tensor, const torch::Tensor& factor) {
    const torch::NoGradGuard no_grad;
    tensor.copy_(tensor.detach().to(at::kCPU, at::kDouble) * factor);
  }

  torch::Tensor values_;
};

}  // namespace evenkeel::detail
