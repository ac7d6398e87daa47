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
/// LibTorch's optimizers, a parameter group without options uses those of the constructor.
struct FusedAdamOptions : public torch::optim::OptimizerCloneableOptions<FusedAdamOptions> {
  // NOLINTNEXTLINE(google-explicit-constructor): as torch::optim::AdamOptions
  FusedAdamOptions(double lr = 1e-3) : lr_(lr) {}

  /// Learning rate. Default: 1e-3
  TORCH_ARG(double, lr);
  /// A scalar tensor that replaces `lr`. A value that is written into it takes effect at the next
  /// update, even if that is captured in a CUDA graph; it then has to be on the device of the
  /// parameters. `set_lr()` writes into it. Default: undefined
  TORCH_ARG(torch::Tensor, lr_tensor);
  /// Factor of the learning rate, for a group whose rate is in proportion to that of the others:
  /// what sets `lr`, such as a scheduler or `FusedAdam::step(lr)`, sets it for all groups. Not
  /// saved: it remains that of the group. Default: 1
  TORCH_ARG(double, lr_scale) = 1.0;
  /// Decay of the mean of the gradients. Default: 0.9
  TORCH_ARG(double, beta1) = 0.9;
  /// Decay of the mean of their squares. Default: 0.999
  TORCH_ARG(double, beta2) = 0.999;
  /// Added to the root of the mean square. Default: 1e-8
  TORCH_ARG(double, eps) = 1e-8;
  /// Decoupled weight decay, as in torch::optim::AdamW: lr * weight_decay * w is subtracted from a
  /// weight w in addition to the update. (torch::optim::Adam adds weight_decay * w to the
  /// gradient.)
  /// Default: 0
  TORCH_ARG(double, weight_decay) = 0.0;
  /// Clips the norm of the gradients over the parameters of all groups together; 0 means no
  /// clipping. Set it in the constructor's options; those of a group must have 0 or the same value.
  /// Default: 0
  TORCH_ARG(double, max_norm) = 0.0;
  /// Whether parameters of half types have float32 copies, which are updated in their place and
  /// rounded into them: else an update is lost that is smaller than half a step of the type, 1/512
  /// of a weight in bfloat16. Set it in the constructor's options. Default: false
  TORCH_ARG(bool, master_weights) = false;

 public:
  /// Both decays, as torch::optim::AdamOptions takes them.
  FusedAdamOptions& betas(const std::tuple<double, double>& betas) {
    return beta1(std::get<0>(betas)).beta2(std::get<1>(betas));
  }
  std::tuple<double, double> betas() const { return {beta1(), beta2()}; }

  /// The value of `lr_tensor` if there is one, otherwise `lr`. Synchronises with the device of
  /// `lr_tensor`.
  double get_lr() const override {
    return lr_tensor().defined() ? lr_tensor().item<double>() : lr();
  }
  /// Sets `lr`, and the value of `lr_tensor` if there is one. LibTorch's schedulers call it.
  void set_lr(const double lr) override {
    lr_ = lr;
    const torch::NoGradGuard no_grad;
    if (lr_tensor().defined()) lr_tensor_.fill_(lr);
  }

  /// Saves the learning rate as a number; `FusedAdam::load()` writes it into `lr_tensor`.
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

/// Throws c10::Error, which names the group, for an option out of range. Does not check the value
/// of `lr_tensor`, which would synchronise with its device.
inline void check_options(const FusedAdamOptions& options, size_t group) {
  const auto check = [&](bool ok, const char* expected, double value) {
    TORCH_CHECK(ok, "FusedAdam: expected ", expected, " for group ", group, ", but got ", value);
  };
  check(options.lr() >= 0.0, "lr >= 0", options.lr());
  check(options.lr_scale() >= 0.0, "lr_scale >= 0", options.lr_scale());
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

/// The state that `FusedAdam` keeps for a parameter, on its device: float64 for a float64
/// parameter, otherwise float32.
struct FusedAdamParamState
    : public torch::optim::OptimizerCloneableParamState<FusedAdamParamState> {
  /// Number of updates of this parameter, a float32 scalar.
  TORCH_ARG(torch::Tensor, step);
  /// Running mean of the gradients, of the parameter's shape.
  TORCH_ARG(torch::Tensor, exp_avg);
  /// Running mean of their squares.
  TORCH_ARG(torch::Tensor, exp_avg_sq);
  /// The parameter in float32, with `FusedAdamOptions::master_weights`; otherwise undefined.
  TORCH_ARG(torch::Tensor, master);

 public:
  void serialize(torch::serialize::OutputArchive& archive) const override {
    archive.write("step", step(), /*is_buffer=*/true);
    archive.write("exp_avg", exp_avg(), /*is_buffer=*/true);
    archive.write("exp_avg_sq", exp_avg_sq(), /*is_buffer=*/true);
    if (master().defined()) archive.write("master", master(), /*is_buffer=*/true);
  }
  void serialize(torch::serialize::InputArchive& archive) override {
    archive.read("step", step_, /*is_buffer=*/true);
    archive.read("exp_avg", exp_avg_, /*is_buffer=*/true);
    archive.read("exp_avg_sq", exp_avg_sq_, /*is_buffer=*/true);
    archive.try_read("master", master_, /*is_buffer=*/true);
  }
};

}  // namespace evenkeel::train
