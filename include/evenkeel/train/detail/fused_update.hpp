// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/train/detail/parameter_list.hpp>
#include <evenkeel/train/fused_adam_options.hpp>

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <memory>
#include <optional>
#include <vector>

namespace evenkeel::train::detail {

/// Source and destination tensors.
struct Copies {
  std::vector<torch::Tensor> to;
  std::vector<torch::Tensor> from;

  void add(const torch::Tensor& target, const torch::Tensor& source) {
    to.push_back(target);
    from.push_back(source);
  }
  void run() const {
    if (!to.empty()) at::_foreach_copy_(to, from);
  }
};

/// The dtype in which a parameter's update is computed and its state is kept. It is not bfloat16,
/// in which a decay of 0.999 rounds to 1.
inline torch::ScalarType state_dtype(const torch::Tensor& parameter) {
  return parameter.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
}

/// The initial state of a parameter: dense, with the memory order of its elements.
inline std::unique_ptr<FusedAdamParamState> new_state(const torch::Tensor& parameter,
                                                      bool master_weights) {
  auto state = std::make_unique<FusedAdamParamState>();
  state->step(torch::zeros({}, parameter.options().dtype(torch::kFloat32)))
      .exp_avg(torch::zeros_like(parameter, state_dtype(parameter)))
      .exp_avg_sq(torch::zeros_like(parameter, state_dtype(parameter)));
  if (master_weights && parameter.scalar_type() != state_dtype(parameter)) {
    state->master(parameter.detach().to(state_dtype(parameter)));
  }
  return state;
}

/// Whether both have the same memory layout, which the kernel assumes.
inline bool same_layout(const torch::Tensor& a, const torch::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.device() == b.device() && a.sizes() == b.sizes() &&
         a.strides() == b.strides();
}

/// The sum of the gradients of a parameter and all tensors tied to it; undefined if there is none.
inline torch::Tensor gradient_of(const Parameter& parameter) {
  torch::Tensor sum;
  const auto add = [&](const torch::Tensor& gradient) {
    if (!gradient.defined()) return;
    TORCH_CHECK(gradient.layout() == torch::kStrided,
                "FusedAdam: expected dense gradients, but that of ",
                parameter.name(),
                ", is ",
                gradient.layout(),
                "; construct its torch::nn::Embedding with sparse(false)");
    TORCH_CHECK(gradient.sizes() == parameter.tensor.sizes(),
                "FusedAdam: expected gradients of their parameters' shapes, but that of ",
                parameter.name(),
                ", is of shape ",
                gradient.sizes());
    sum = sum.defined() ? sum + gradient : gradient;
  };
  add(parameter.tensor.grad());
  for (const auto& tensor : parameter.tied) add(tensor.grad());
  return sum;
}

/// One call of LibTorch's fused kernel, for parameters of one group, one device and one dtype.
struct FusedUpdate {
  FusedUpdate(const FusedAdamOptions& options_, torch::Device device_, torch::ScalarType dtype_)
      : options(&options_), device(device_), dtype(dtype_) {}

  void add(const Parameter& parameter, const torch::Tensor& gradient, FusedAdamParamState& state) {
    auto target = parameter.tensor;
    if (state.master().defined()) {
      target = state.master();
      TORCH_CHECK(target.device() == device && target.sizes() == parameter.tensor.sizes(),
                  "FusedAdam: expected the float32 copy of ",
                  parameter.name(),
                  ", to have its shape and device, but got ",
                  target.sizes(),
                  " on ",
                  target.device());
      after.add(parameter.tensor, target);
    } else if (target.scalar_type() != dtype || !target.is_non_overlapping_and_dense()) {
      target = torch::empty_like(parameter.tensor, dtype);
      before.add(target, parameter.tensor);
      after.add(parameter.tensor, target);
    }
    auto readable = gradient;
    if (!same_layout(gradient, target)) {
      readable = torch::empty_like(target);
      before.add(readable, gradient);
    }
    // The state has another device or dtype after the model was moved or cast, or after loading.
    const auto fitted = [&](const torch::Tensor& mean) {
      if (same_layout(mean, target)) return mean;
      TORCH_CHECK(mean.sizes() == target.sizes(),
                  "FusedAdam: expected the state of ",
                  parameter.name(),
                  ", to have its shape, but got ",
                  mean.sizes());
      return torch::empty_like(target).copy_(mean);
    };
    state.exp_avg(fitted(state.exp_avg())).exp_avg_sq(fitted(state.exp_avg_sq()));
    state.step(state.step().to(device));
    parameters.push_back(target);
    gradients.push_back(readable);
    exp_avgs.push_back(state.exp_avg());
    exp_avg_sqs.push_back(state.exp_avg_sq());
    steps.push_back(state.step());
  }

  /// Euclidean norm of the gradients, a scalar.
  torch::Tensor grad_norm() const { return torch::stack(at::_foreach_norm(gradients, 2)).norm(); }

  /// Adds `finite`, 0 or 1, to the counts of updates.
  void count(const torch::Tensor& finite) const {
    if (!device.is_cpu()) return at::_foreach_add_(steps, finite);
    const float one = *finite.const_data_ptr<float>();  // foreach is one operator per tensor
    for (const auto& step : steps) *step.mutable_data_ptr<float>() += one;
  }

  /// Runs one update, with gradients divided by `scale` if there is one; does nothing if `finite`,
  /// a float32 scalar, is 0.
  void run(const torch::Tensor& finite, const std::optional<torch::Tensor>& scale) const {
    const auto call = [&](const auto& lr) {
      at::_fused_adamw_(parameters,
                        gradients,
                        exp_avgs,
                        exp_avg_sqs,
                        /*max_exp_avg_sqs=*/{},
                        steps,
                        lr,
                        options->beta1(),
                        options->beta2(),
                        options->weight_decay(),
                        options->eps(),
                        /*amsgrad=*/false,
                        /*maximize=*/false,
                        scale,
                        /*found_inf=*/1.0 - finite);
    };
    count(finite);
    const auto& lr = options->lr_tensor();
    const double scale_of_lr = options->lr_scale();
    if (!lr.defined()) {
      call(options->lr() * scale_of_lr);
    } else {
      const auto scaled = scale_of_lr == 1.0 ? lr : lr * scale_of_lr;
      call(scaled.is_cpu() ? scaled : scaled.to(device, torch::kFloat32));
    }
    after.run();
  }

  const FusedAdamOptions* options;  ///< The options of the group.
  torch::Device device;
  torch::ScalarType dtype;
  std::vector<torch::Tensor> parameters, gradients, exp_avgs, exp_avg_sqs, steps;
  Copies before;  ///< Tensors that the kernel cannot read, into dense copies.
  Copies after;   ///< Updated copies, into their parameters.
};

}  // namespace evenkeel::train::detail
