// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/train/detail/fused_adam_file.hpp>
#include <evenkeel/train/detail/fused_update.hpp>
#include <evenkeel/train/detail/parameter_list.hpp>
#include <evenkeel/train/fused_adam_options.hpp>

#include <c10/util/Exception.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize/archive.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace evenkeel::train {

/// AdamW that updates all parameters of a group with one kernel, where torch::optim::AdamW runs ten
/// small kernels for each parameter; without weight decay it is Adam. It is a
/// torch::optim::Optimizer: parameter groups, schedulers, torch::save() and torch::load() work as
/// with LibTorch's own.
///
///     evenkeel::train::FusedAdam adam(model->parameters(), FusedAdamOptions(3e-4).max_norm(1.0));
///     adam.zero_grad();
///     loss.backward();
///     adam.step();
///
/// - Parameters are float64, float32, bfloat16 or half, of any strides, on one device or several;
///   gradients may have any dtype and strides, but not be sparse. Half types are updated in
///   float32, in which their state is kept, and rounded once; with
///   `FusedAdamOptions::master_weights` the float32 weights are kept too.
/// - A parameter that is listed twice counts once. Tensors that share their memory, as after
///   head->weight.set_data(tokens->weight), are tied: they are one parameter, and their gradients
///   are added.
/// - An update is skipped if the norm of the gradients is not finite; `skipped()` counts these.
/// - Updates do not synchronise with a GPU. A CUDA graph can capture one, with
///   `FusedAdamOptions::lr_tensor`.
///
/// Papers: Kingma and Ba 2014, https://arxiv.org/abs/1412.6980; Loshchilov and Hutter 2017,
/// https://arxiv.org/abs/1711.05101.
class FusedAdam : public torch::optim::Optimizer {
 public:
  /// Throws c10::Error for parameters that cannot be updated and options out of range.
  explicit FusedAdam(const std::vector<torch::optim::OptimizerParamGroup>& groups,
                     const FusedAdamOptions& defaults = {})
      : Optimizer(groups, std::make_unique<FusedAdamOptions>(defaults)) {
    const auto parameters = detail::distinct_parameters(param_groups());
    TORCH_CHECK(!parameters.empty(), "FusedAdam: expected parameters, but got none");
    for (size_t group = 0; group < param_groups().size(); ++group) options_of(group);
    add_states(parameters);
    skipped_ = torch::zeros({}, parameters.front().tensor.options().dtype(torch::kInt64));
  }
  explicit FusedAdam(std::vector<torch::Tensor> parameters, const FusedAdamOptions& defaults = {})
      : FusedAdam({torch::optim::OptimizerParamGroup(std::move(parameters))}, defaults) {}

  /// Runs one update; parameters without a gradient are not changed. Returns the loss that
  /// `closure` returns. With max_norm, gradients may be scaled in place, so read them before.
  torch::Tensor step(LossClosure closure = nullptr) override {
    torch::Tensor loss;
    if (closure) {
      const torch::AutoGradMode with_gradients(true);
      loss = closure();
    }
    const torch::NoGradGuard no_grad;
    const auto parameters = detail::distinct_parameters(param_groups());
    const auto updates = updates_of(parameters);
    if (updates.empty()) {
      grad_norm_ = torch::Tensor();
      return loss;
    }

    const auto device = parameters.front().tensor.device();  // the device of the norm
    std::vector<torch::Tensor> norms;
    for (const auto& update : updates) {
      update.before.run();
      norms.push_back(update.grad_norm().to(device));
    }
    keep_grad_norm(norms.size() == 1 ? norms.front() : torch::stack(norms).norm());
    const auto finite = grad_norm_.isfinite();
    skipped_ = skipped_.to(device).add_(finite.logical_not());
    const auto one_if_finite = finite.to(torch::kFloat32);
    std::optional<torch::Tensor> scale;
    if (max_norm() > 0.0) scale = (grad_norm_ / max_norm()).clamp_min(1.0).to(torch::kFloat32);
    for (const auto& update : updates) {
      update.run(one_if_finite.to(update.device),
                 scale ? std::optional(scale->to(update.device)) : std::nullopt);
    }
    return loss;
  }

  /// Sets the learning rate of all groups, each times its `lr_scale`, and runs one update: for
  /// schedules that are functions of the step, such as `inverse_sqrt_lr()`.
  void step(double lr) {
    set_lr(lr);
    step();
  }

  /// Sets the learning rate of all groups.
  void set_lr(double lr) {
    for (auto& group : param_groups()) group.options().set_lr(lr);
  }

  /// Euclidean norm of the last update's gradients over all parameters, before clipping: a scalar
  /// on the first parameter's device, float64 if any parameter is, otherwise float32. Undefined
  /// before the first update and if there were no gradients. In float32 it overflows at 1.8e19.
  /// Each update writes into the same tensor, also one that a CUDA graph replays.
  const torch::Tensor& grad_norm() const { return grad_norm_; }

  /// Number of updates that were skipped because the norm of the gradients was NaN or infinite: an
  /// int64 scalar on the first parameter's device. Such an update changes neither weights nor
  /// state.
  const torch::Tensor& skipped() const { return skipped_; }

  /// The weights that updates are made to: the float32 copy of a parameter that has one, or the
  /// parameter.
  torch::Tensor master_of(const torch::Tensor& parameter) const {
    const auto found = state_.find(parameter.unsafeGetTensorImpl());
    if (found == state_.end()) return parameter;
    const auto& master = static_cast<const FusedAdamParamState&>(*found->second).master();
    return master.defined() ? master : parameter;
  }

  /// The state of a parameter, for checkpoints. To resume, copy the saved values into its tensors;
  /// the run then equals an uninterrupted one bit for bit.
  FusedAdamParamState& state_of(const torch::Tensor& parameter) {
    const auto found = state_.find(parameter.unsafeGetTensorImpl());
    TORCH_CHECK(found != state_.end(),
                "FusedAdam: expected one of its parameters, but got a tensor of shape ",
                parameter.sizes(),
                " without a state");
    return static_cast<FusedAdamParamState&>(*found->second);
  }

  /// Called by torch::save(): options and state of every group, and `skipped()`.
  void save(torch::serialize::OutputArchive& archive) const override {
    for (size_t group = 0; group < param_groups().size(); ++group) options_of(group);
    detail::write_groups(archive, param_groups(), [&](const torch::Tensor& parameter) {
      const auto found = state_.find(parameter.unsafeGetTensorImpl());
      return found == state_.end() ? nullptr : found->second.get();
    });
    archive.write("skipped", skipped_, /*is_buffer=*/true);
  }

  /// Called by torch::load(): reads what `save` writes. max_norm and lr_scale are not read: they
  /// remain those of the constructor. An `lr_tensor` remains the same tensor, and the saved
  /// learning rate is written into it. Throws c10::Error, and changes nothing, if the groups in the
  /// file differ.
  void load(torch::serialize::InputArchive& archive) override {
    const auto groups = detail::read_groups(archive, param_groups());
    archive.read("skipped", skipped_, /*is_buffer=*/true);
    state_.clear();
    for (size_t i = 0; i < groups.size(); ++i) {
      auto& options = static_cast<FusedAdamOptions&>(param_groups()[i].options());
      options = FusedAdamOptions(groups[i].options)
                    .lr_tensor(options.lr_tensor())
                    .lr_scale(options.lr_scale())
                    .max_norm(options.max_norm());
      options.set_lr(groups[i].options.lr());
      for (const auto& [parameter, state] : groups[i].states) {
        state_[parameter.unsafeGetTensorImpl()] = std::make_unique<FusedAdamParamState>(state);
      }
    }
    add_states(detail::distinct_parameters(param_groups()));
  }

 private:
  // The options of a group, checked, because they may have been changed since.
  const FusedAdamOptions& options_of(size_t group) const {
    const auto* options = dynamic_cast<const FusedAdamOptions*>(&param_groups()[group].options());
    TORCH_CHECK(options != nullptr,
                "FusedAdam: expected FusedAdamOptions for group ",
                group,
                ", but got the options of another optimizer");
    detail::check_options(*options, group);
    TORCH_CHECK(options->max_norm() == 0.0 || options->max_norm() == max_norm(),
                "FusedAdam: expected one max_norm for all groups, but got ",
                max_norm(),
                " for the constructor and ",
                options->max_norm(),
                " for group ",
                group);
    return *options;
  }

  void keep_grad_norm(torch::Tensor norm) {
    const bool fits = grad_norm_.defined() && grad_norm_.device() == norm.device() &&
                      grad_norm_.scalar_type() == norm.scalar_type();
    if (fits) {
      grad_norm_.copy_(norm);
    } else {
      grad_norm_ = std::move(norm);
    }
  }

  bool master_weights() const {
    return static_cast<const FusedAdamOptions&>(defaults()).master_weights();
  }
  double max_norm() const { return static_cast<const FusedAdamOptions&>(defaults()).max_norm(); }

  // Called in the constructor, so that a CUDA graph can capture even the first update.
  void add_states(const std::vector<detail::Parameter>& parameters) {
    for (const auto& parameter : parameters) {
      if (parameter.tensor.requires_grad()) state_to_update(parameter.tensor);
    }
  }

  FusedAdamParamState& state_to_update(const torch::Tensor& parameter) {
    auto& state = state_[parameter.unsafeGetTensorImpl()];
    if (!state) state = detail::new_state(parameter, master_weights());
    return static_cast<FusedAdamParamState&>(*state);
  }

  std::vector<detail::FusedUpdate> updates_of(const std::vector<detail::Parameter>& parameters) {
    std::vector<detail::FusedUpdate> updates;
    for (const auto& parameter : parameters) {
      const auto gradient = detail::gradient_of(parameter);
      if (!gradient.defined()) continue;
      const auto& options = param_groups()[parameter.group].options();
      const auto device = parameter.tensor.device();
      const auto dtype = detail::state_dtype(parameter.tensor);
      auto update = std::find_if(updates.begin(), updates.end(), [&](const auto& other) {
        return other.options == &options && other.device == device && other.dtype == dtype;
      });
      if (update == updates.end()) {
        update = updates.emplace(update, options_of(parameter.group), device, dtype);
      }
      update->add(parameter, gradient, state_to_update(parameter.tensor));
    }
    return updates;
  }

  torch::Tensor grad_norm_;
  torch::Tensor skipped_;
};

}  // namespace evenkeel::train
