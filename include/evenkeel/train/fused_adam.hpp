// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace evenkeel::train {

/// Options for `FusedAdam`, e.g. `FusedAdamOptions().beta2(0.98)`.
struct FusedAdamOptions {
  /// Decay of the mean of the gradients. Default: 0.9
  TORCH_ARG(double, beta1) = 0.9;
  /// Decay of the mean of their squares. Default: 0.999
  TORCH_ARG(double, beta2) = 0.999;
  /// Added to the root. Default: 1e-8
  TORCH_ARG(double, eps) = 1e-8;
  /// Decoupled weight decay (AdamW), times the learning rate. Default: 0
  TORCH_ARG(double, weight_decay) = 0.0;
  /// Gradients are scaled down to this norm over all parameters; 0 leaves them. Default: 0
  TORCH_ARG(double, max_norm) = 0.0;
};

/// Adam with all parameters updated by one kernel, where torch::optim::Adam runs ten small ones for
/// each. Its state is plain tensors, so a checkpoint can hold it and a resumed run equals an
/// unbroken one bit for bit.
/// Paper: Kingma and Ba 2014, https://arxiv.org/abs/1412.6980.
class FusedAdam {
 public:
  /// All parameters have to be on one device.
  FusedAdam(std::vector<torch::Tensor> parameters, const FusedAdamOptions& options_)
      : options(options_), parameters_(std::move(parameters)) {
    TORCH_CHECK(!parameters_.empty(), "FusedAdam: expected parameters, but got none");
    const torch::NoGradGuard no_grad;
    for (const auto& parameter : parameters_) {
      TORCH_CHECK(parameter.device() == parameters_.front().device(),
                  "FusedAdam: expected all parameters on one device, but got ",
                  parameters_.front().device(),
                  " and ",
                  parameter.device());
      exp_avgs_.push_back(torch::zeros_like(parameter));
      exp_avg_sqs_.push_back(torch::zeros_like(parameter));
    }
    step_ = torch::zeros({}, parameters_.front().options().dtype(torch::kFloat32));
  }

  /// One update with this learning rate; parameters without a gradient stay as they are. Returns
  /// the gradients' norm over all parameters, before it was limited: a scalar tensor, so that a GPU
  /// need not be waited for; undefined where max_norm is 0.
  torch::Tensor step(double lr) {
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> parameters, gradients, exp_avgs, exp_avg_sqs;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (!parameters_[i].grad().defined()) continue;
      parameters.push_back(parameters_[i]);
      gradients.push_back(parameters_[i].grad());
      exp_avgs.push_back(exp_avgs_[i]);
      exp_avg_sqs.push_back(exp_avg_sqs_[i]);
    }
    if (parameters.empty()) return {};
    torch::Tensor norm;
    std::optional<torch::Tensor> grad_scale;
    if (options.max_norm() > 0.0) {
      norm = torch::stack(at::_foreach_norm(gradients, 2)).norm();
      grad_scale = (norm / options.max_norm()).clamp_min(1.0);  // gradients are divided by it
    }
    step_.add_(1);
    const std::vector<torch::Tensor> steps(parameters.size(), step_);
    const auto update = options.weight_decay() > 0.0 ? static_cast<Update>(&at::_fused_adamw_)
                                                     : static_cast<Update>(&at::_fused_adam_);
    update(parameters,
           gradients,
           exp_avgs,
           exp_avg_sqs,
           /*max_exp_avg_sqs=*/{},
           steps,
           lr,
           options.beta1(),
           options.beta2(),
           options.weight_decay(),
           options.eps(),
           /*amsgrad=*/false,
           /*maximize=*/false,
           grad_scale,
           /*found_inf=*/std::nullopt);
    return norm;
  }

  /// Forgets the gradients.
  void zero_grad() {
    for (auto& parameter : parameters_) parameter.mutable_grad().reset();
  }

  /// What a checkpoint has to hold: the count of updates, then each parameter's mean gradient, then
  /// each one's mean squared gradient, in the order of the parameters. Copy into them to resume.
  std::vector<torch::Tensor> state() const {
    std::vector<torch::Tensor> tensors{step_};
    tensors.insert(tensors.end(), exp_avgs_.begin(), exp_avgs_.end());
    tensors.insert(tensors.end(), exp_avg_sqs_.begin(), exp_avg_sqs_.end());
    return tensors;
  }

  FusedAdamOptions options;  ///< The options with which this optimizer was constructed.

 private:
  using Update = void (*)(at::TensorList,
                          at::TensorList,
                          at::TensorList,
                          at::TensorList,
                          at::TensorList,
                          at::TensorList,
                          double,
                          double,
                          double,
                          double,
                          double,
                          bool,
                          bool,
                          const std::optional<at::Tensor>&,
                          const std::optional<at::Tensor>&);

  std::vector<torch::Tensor> parameters_;
  std::vector<torch::Tensor> exp_avgs_;
  std::vector<torch::Tensor> exp_avg_sqs_;
  torch::Tensor step_;
};

}  // namespace evenkeel::train
