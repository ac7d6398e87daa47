// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/core/ivalue.h>
#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize/archive.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstddef>
#include <tuple>

namespace evenkeel::train {

/// Options for `FusedAdam`, e.g. `FusedAdamOptions(3e-4).betas({0.9, 0.98}).max_norm(1.0)`. As with
/// LibTorch's optimizers, a parameter group without options takes the constructor's.
struct FusedAdamOptions : public torch::optim::OptimizerCloneableOptions<FusedAdamOptions> {
  // NOLINTNEXTLINE(google-explicit-constructor): as torch::optim::AdamOptions
  FusedAdamOptions(double lr = 1e-3) : lr_(lr) {}

  /// Learning rate. Default: 1e-3
  TORCH_ARG(double, lr);
  /// A learning rate in memory, a scalar tensor that takes the place of `lr`: what is written into
  /// it counts from the next update, also of an update captured in a CUDA graph, for which it has
  /// to lie on the parameters' device. `set_lr()` writes into it. Default: undefined
  TORCH_ARG(torch::Tensor, lr_tensor);
  /// Decay of the mean of the gradients. Default: 0.9
  TORCH_ARG(double, beta1) = 0.9;
  /// Decay of the mean of their squares. Default: 0.999
  TORCH_ARG(double, beta2) = 0.999;
  /// Added to the root of the mean square. Default: 1e-8
  TORCH_ARG(double, eps) = 1e-8;
  /// Decoupled weight decay, as in torch::optim::AdamW: lr * weight_decay * w is taken from a
  /// weight w beside the update. (torch::optim::Adam adds weight_decay * w to the gradient.)
  /// Default: 0
  TORCH_ARG(double, weight_decay) = 0.0;
  /// Gradients are scaled down to this norm over the parameters of all groups together; 0 leaves
  /// them. The constructor's options decide: a group's own are 0 or the same. Default: 0
  TORCH_ARG(double, max_norm) = 0.0;

 public:
  /// Both decays, as torch::optim::AdamOptions takes them.
  FusedAdamOptions& betas(const std::tuple<double, double>& betas) {
    return beta1(std::get<0>(betas)).beta2(std::get<1>(betas));
  }
  std::tuple<double, double> betas() const { return {beta1(), beta2()}; }

  /// The learning rate, wherever it is; waits for the device of `lr_tensor`.
  double get_lr() const override {
    return lr_tensor().defined() ? lr_tensor().item<double>() : lr();
  }
  /// Sets `lr`, and the value of `lr_tensor` where there is one. LibTorch's schedulers call it.
  void set_lr(const double lr) override {
    lr_ = lr;
    const torch::NoGradGuard no_grad;
    if (lr_tensor().defined()) lr_tensor_.fill_(lr);
  }

  /// A file holds the learning rate as a number; `FusedAdam::load()` writes it into `lr_tensor`.
  void serialize(torch::serialize::OutputArchive& archive) const override {
    archive.write("lr", c10::IValue(get_lr()));
    archive.write("beta1", c10::IValue(beta1()));
    archive.write("beta2", c10::IValue(beta2()));
    archive.write("eps", c10::IValue(eps()));
    archive.write("weight_decay", c10::IValue(weight_decay()));
    archive.write("max_norm", c10::IValue(max_norm()));
  }
  void serialize(torch::serialize::InputArchive& archive) override {
    const auto read = [&](const char* name) {
      c10::IValue value;
      archive.read(name, value);
      return value.toDouble();
    };
    set_lr(read("lr"));
    beta1(read("beta1")).beta2(read("beta2")).eps(read("eps"));
    weight_decay(read("weight_decay")).max_norm(read("max_norm"));
  }
};

namespace detail {

/// Throws c10::Error that names the group for an option out of range. Does not look into
/// `lr_tensor`, which would have to wait for its device.
inline void check_options(const FusedAdamOptions& options, size_t group) {
  const auto check = [&](bool ok, const char* expected, double value) {
    TORCH_CHECK(ok, "FusedAdam: expected ", expected, " for group ", group, ", but got ", value);
  };
  check(options.lr() >= 0.0, "lr >= 0", options.lr());
  check(options.beta1() >= 0.0 && options.beta1() < 1.0, "beta1 in [0, 1)", options.beta1());
  check(options.beta2() >= 0.0 && options.beta2() < 1.0, "beta2 in [0, 1)", options.beta2());
  check(options.eps() >= 0.0, "eps >= 0", options.eps());
  check(options.weight_decay() >= 0.0, "weight_decay >= 0", options.weight_decay());
  check(options.max_norm() >= 0.0, "max_norm >= 0", options.max_norm());
  const auto& lr = options.lr_tensor();
  TORCH_CHECK(!lr.defined() || (lr.dim() == 0 && lr.is_floating_point()),
              "FusedAdam: expected a floating-point scalar as lr_tensor for group ",
              group,
              ", but got shape ",
              lr.sizes(),
              " of ",
              lr.scalar_type());
}

}  // namespace detail

/// What `FusedAdam` keeps for a parameter, on its device: float64 for a parameter of float64, else
/// float32.
struct FusedAdamParamState
    : public torch::optim::OptimizerCloneableParamState<FusedAdamParamState> {
  /// Updates that this parameter has had: a float32 scalar.
  TORCH_ARG(torch::Tensor, step);
  /// Running mean of the gradients, of the parameter's shape.
  TORCH_ARG(torch::Tensor, exp_avg);
  /// Running mean of their squares.
  TORCH_ARG(torch::Tensor, exp_avg_sq);

 public:
  void serialize(torch::serialize::OutputArchive& archive) const override {
    archive.write("step", step(), /*is_buffer=*/true);
    archive.write("exp_avg", exp_avg(), /*is_buffer=*/true);
    archive.write("exp_avg_sq", exp_avg_sq(), /*is_buffer=*/true);
  }
  void serialize(torch::serialize::InputArchive& archive) override {
    archive.read("step", step_, /*is_buffer=*/true);
    archive.read("exp_avg", exp_avg_, /*is_buffer=*/true);
    archive.read("exp_avg_sq", exp_avg_sq_, /*is_buffer=*/true);
  }
};

}  // namespace evenkeel::train
