// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/diagnose_options.hpp>

#include <ATen/ATen.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// The updates that `diagnose` tries, in the model's own parameters: Adam without weight decay,
/// from moments of 0.
/// Paper: Kingma and Ba 2015, https://arxiv.org/abs/1412.6980.
class TrialAdam {
 public:
  TrialAdam(std::vector<torch::Tensor> parameters, const DiagnoseOptions& options)
      : parameters_(std::move(parameters)), options_(options) {
    for (const auto& parameter : parameters_) {
      first_.push_back(torch::zeros_like(parameter, torch::MemoryFormat::Preserve));
      second_.push_back(torch::zeros_like(parameter, torch::MemoryFormat::Preserve));
    }
  }

  /// The norm of all gradients, of which some may be undefined.
  static double norm_of(const std::vector<torch::Tensor>& gradients) {
    std::vector<torch::Tensor> norms;
    for (const auto& gradient : gradients) {
      if (gradient.defined()) norms.push_back(gradient.detach().norm().to(torch::kFloat64));
    }
    return norms.empty() ? 0.0 : torch::stack(norms).norm().item<double>();
  }

  /// One update at this learning rate. `norm` is that of all gradients.
  void step(const std::vector<torch::Tensor>& gradients, double norm, double learning_rate) {
    const torch::NoGradGuard no_grad;
    ++steps_;
    const double clip = options_.clip_norm();
    const double scale = clip > 0.0 && norm > clip ? clip / norm : 1.0;
    const double first = 1.0 - std::pow(options_.beta1(), steps_);
    const double second = 1.0 - std::pow(options_.beta2(), steps_);
    const double rate = std::min(learning_rate / first, kHighest);
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (!gradients[i].defined()) continue;
      const auto gradient = gradients[i] * scale;
      first_[i].mul_(options_.beta1()).add_(gradient, 1.0 - options_.beta1());
      second_[i].mul_(options_.beta2()).addcmul_(gradient, gradient, 1.0 - options_.beta2());
      const auto root = (second_[i] / second).sqrt_().add_(options_.eps());
      parameters_[i].detach().addcdiv_(first_[i], root, -rate);
    }
  }

 private:
  static constexpr double kHighest = 1e30;  // a rate beyond float32's range is an error of LibTorch

  std::vector<torch::Tensor> parameters_, first_, second_;
  DiagnoseOptions options_;
  int64_t steps_ = 0;
};

}  // namespace evenkeel::detail
