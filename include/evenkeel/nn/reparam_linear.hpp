// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/plain_residual.hpp>
#include <evenkeel/residual/detail/gains.hpp>
#include <evenkeel/residual/gain.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/init.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <ostream>
#include <utility>

namespace evenkeel::nn {

/// The matrix W_init of a `ReparamLinear`.
enum class MatrixInit {
  kIdentity,    ///< Nothing is stored or multiplied for it.
  kOrthogonal,  ///< Random with orthonormal rows or columns.
  kNormal,      ///< N(0, 1 / in_features)
};

constexpr const char* to_string(MatrixInit init) {
  switch (init) {
    case MatrixInit::kIdentity:
      return "identity";
    case MatrixInit::kOrthogonal:
      return "orthogonal";
    case MatrixInit::kNormal:
      return "normal";
  }
  return "?";
}

/// Options for `ReparamLinear`, e.g.
/// `ReparamLinearOptions(512, 512).skip(Gain::one()).resid(Gain::fixed(0.1))`.
struct ReparamLinearOptions {
  ReparamLinearOptions(int64_t in_features, int64_t out_features)
      : in_features_(in_features), out_features_(out_features) {}

  /// Size of the last dimension of the input.
  TORCH_ARG(int64_t, in_features);
  /// Size of the last dimension of the output.
  TORCH_ARG(int64_t, out_features);
  /// W_init. Default: identity, which needs in_features == out_features
  TORCH_ARG(MatrixInit, init) = MatrixInit::kIdentity;
  /// The gain of W_init. Default: 1, trained
  TORCH_ARG(Gain, skip) = Gain::trained(1.0, GainShape::kScalar);
  /// The gain of dW. Default: 1, trained
  TORCH_ARG(Gain, resid) = Gain::trained(1.0, GainShape::kScalar);
  /// Whether there is a bias, which begins at 0. Default: true
  TORCH_ARG(bool, bias) = true;
};

/// A linear layer whose matrix is a fixed one plus a trained one that begins at 0:
///
///     y = x W^T + bias,   W = skip * W_init + resid * weight
///
/// With Adam, W learns as one matrix would whose learning rate is multiplied by resid; with SGD, by
/// resid^2. Shapes: x is (*, in_features), y (*, out_features). Registered names: `weight`, dW, is
/// the parameter (out_features, in_features); `init_weight` is W_init, a buffer, unless it is the
/// identity; `skip_gain` and `resid_gain`, of shape (1), each unless it is `Gain::one()`; `bias`.
/// Paper: He and Hofmann 2023, https://arxiv.org/abs/2311.01906, equation 6.
class ReparamLinearImpl : public torch::nn::Cloneable<ReparamLinearImpl> {
 public:
  explicit ReparamLinearImpl(const ReparamLinearOptions& options_) : options(options_) {
    const auto in = options.in_features();
    const auto out = options.out_features();
    TORCH_CHECK(in > 0 && out > 0,
                "ReparamLinear: expected in_features and out_features > 0, but got ",
                in,
                " and ",
                out);
    TORCH_CHECK(options.init() != MatrixInit::kIdentity || in == out,
                "ReparamLinear: expected in_features == out_features for the identity, but got ",
                in,
                " and ",
                out);
    for (const auto& gain : {options.skip(), options.resid()}) {
      evenkeel::detail::check_scalar_gain("ReparamLinear", gain);
    }
    reset();
  }

  void reset() override {
    const auto in = options.in_features();
    const auto out = options.out_features();
    weight = register_parameter("weight", torch::empty({out, in}));
    if (options.bias()) bias = register_parameter("bias", torch::empty({out}));
    if (options.init() != MatrixInit::kIdentity) {
      init_weight = register_buffer("init_weight", torch::empty({out, in}));
    }
    skip_gain = evenkeel::detail::register_gain(*this, "skip_gain", options.skip(), 0);
    resid_gain = evenkeel::detail::register_gain(*this, "resid_gain", options.resid(), 0);
    reset_parameters();
  }

  /// Draws W_init, sets dW and the bias to 0, and the gains to their initial values.
  void reset_parameters() {
    const torch::NoGradGuard no_grad;
    weight.zero_();
    if (bias.defined()) bias.zero_();
    if (options.init() == MatrixInit::kOrthogonal) torch::nn::init::orthogonal_(init_weight);
    if (options.init() == MatrixInit::kNormal) {
      init_weight.normal_(0.0, 1.0 / std::sqrt(static_cast<double>(options.in_features())));
    }
    evenkeel::detail::reset_gain(skip_gain, options.skip());
    evenkeel::detail::reset_gain(resid_gain, options.resid());
  }

  torch::Tensor forward(const torch::Tensor& x) {
    using evenkeel::detail::apply_gain;
    const auto trained = apply_gain(weight, resid_gain);
    if (!init_weight.defined()) return apply_gain(x, skip_gain) + torch::linear(x, trained, bias);
    return torch::linear(x, trained + apply_gain(init_weight, skip_gain), bias);
  }

  /// Pretty prints the module, e.g. `evenkeel::nn::ReparamLinear(in_features=512, ...)`.
  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::nn::ReparamLinear(in_features=" << options.in_features()
           << ", out_features=" << options.out_features() << ", init=" << to_string(options.init());
    if (!options.bias()) stream << ", bias=false";
    stream << ")";
  }

  ReparamLinearOptions options;  ///< The options with which this module was constructed.
  torch::Tensor weight;          ///< dW, (out_features, in_features)
  torch::Tensor bias;            ///< (out_features); undefined if there is none.
  torch::Tensor init_weight;     ///< W_init; undefined if it is the identity.
  torch::Tensor skip_gain;       ///< (1); undefined if it is `Gain::one()`.
  torch::Tensor resid_gain;      ///< (1); undefined if it is `Gain::one()`.
};

/// A `ModuleHolder` for `ReparamLinearImpl`: copies of it share one module.
TORCH_MODULE(ReparamLinear);

}  // namespace evenkeel::nn
