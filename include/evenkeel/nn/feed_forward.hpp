// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>
#include <evenkeel/core/draw.hpp>
#include <evenkeel/core/enums.hpp>
#include <evenkeel/kernels/detail/biased_linear.hpp>
#include <evenkeel/nn/detail/check_options.hpp>
#include <evenkeel/nn/inside_norm.hpp>
#include <evenkeel/residual/any_norm.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/init.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <ostream>
#include <utility>

namespace evenkeel::nn {

/// Options for `FeedForward`, e.g. `FeedForwardOptions(512, 2048).dropout(0.1)`.
struct FeedForwardOptions {
  FeedForwardOptions(int64_t embed_dim, int64_t dim_feedforward)
      : embed_dim_(embed_dim), dim_feedforward_(dim_feedforward) {}

  /// Size of the last dimension of input and output.
  TORCH_ARG(int64_t, embed_dim);
  /// Size of the inner layer. SwiGLU has three matrices of this size instead of two, so 2/3 of the
  /// size gives the same number of parameters.
  TORCH_ARG(int64_t, dim_feedforward);
  /// Activation between the matrices. Default: ReLU
  TORCH_ARG(Activation, activation) = Activation::kReLU;
  /// Slope of LeakyReLU below 0; other activations have none. Default: 0.01
  TORCH_ARG(double, negative_slope) = 0.01;
  /// Whether all matrices have a bias. Default: true
  TORCH_ARG(bool, bias) = true;
  /// A norm on the input of the last matrix, as in Sub-LN. Default: none
  TORCH_ARG(InsideNorm, inside_norm);
  /// Probability with which an inner activation is dropped during training. Default: 0
  TORCH_ARG(double, dropout) = 0.0;
};

/// The feed-forward branch:
///
///     fc2(dropout(relu(fc1(x))))               ReLU, LeakyReLU, SiLU; GELU with x * Phi(x)
///     fc2(dropout(silu(gate(x)) * fc1(x)))     SwiGLU
///
/// Shapes: x and y are (*, embed_dim).
/// Papers: Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415 (GELU, by erf); Shazeer
/// 2020, https://arxiv.org/abs/2002.05202 (SwiGLU).
class FeedForwardImpl : public torch::nn::Cloneable<FeedForwardImpl> {
 public:
  explicit FeedForwardImpl(FeedForwardOptions options_) : options(std::move(options_)) {
    TORCH_CHECK(options.embed_dim() > 0 && options.dim_feedforward() > 0,
                "FeedForward: expected embed_dim and dim_feedforward > 0, but got ",
                options.embed_dim(),
                " and ",
                options.dim_feedforward());
    detail::check_probability("FeedForward", "dropout", options.dropout());
    TORCH_CHECK(std::isfinite(options.negative_slope()),
                "FeedForward: expected a finite negative_slope, but got ",
                options.negative_slope());
    reset();
  }

  void reset() override {
    const auto linear = [&](int64_t in, int64_t out) {
      return torch::nn::Linear(torch::nn::LinearOptions(in, out).bias(options.bias()));
    };
    fc1 = register_module("fc1", linear(options.embed_dim(), options.dim_feedforward()));
    if (options.activation() == Activation::kSwiGLU) {
      gate = register_module("gate", linear(options.embed_dim(), options.dim_feedforward()));
    }
    inside_norm = options.inside_norm().make(options.dim_feedforward());
    if (!inside_norm.is_empty()) register_module("inside_norm", inside_norm.ptr());
    fc2 = register_module("fc2", linear(options.dim_feedforward(), options.embed_dim()));
    reset_parameters();
  }

  /// Re-initialises every matrix as fairseq does: Xavier uniform, biases 0.
  void reset_parameters() {
    const torch::NoGradGuard no_grad;
    const auto reset_linear = [](torch::nn::Linear& linear, Role role) {
      if (linear.is_empty()) return;
      torch::nn::init::xavier_uniform_(linear->weight, plain_draw(role).gain);
      if (linear->bias.defined()) linear->bias.zero_();
    };
    reset_linear(fc1, Role::kFeedForwardIn);
    reset_linear(gate, Role::kFeedForwardIn);
    reset_linear(fc2, Role::kFeedForwardOut);
    if (!inside_norm.is_empty()) inside_norm.reset_parameters();
  }

  torch::Tensor forward(const torch::Tensor& x) {
    auto inner = options.inside_norm().apply(inside_norm, activate(x));
    if (options.dropout() > 0.0) inner = torch::dropout(inner, options.dropout(), is_training());
    return evenkeel::detail::biased_linear(inner, fc2->weight, fc2->bias);
  }

  /// Pretty prints the module, e.g. `evenkeel::nn::FeedForward(embed_dim=512, ...)`.
  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::nn::FeedForward(embed_dim=" << options.embed_dim()
           << ", dim_feedforward=" << options.dim_feedforward()
           << ", activation=" << to_string(options.activation());
    if (options.activation() == Activation::kLeakyReLU) {
      stream << ", negative_slope=" << options.negative_slope();
    }
    if (!options.bias()) stream << ", bias=false";
    stream << ", dropout=" << options.dropout() << ")";
  }

  FeedForwardOptions options;       ///< The options with which this module was constructed.
  torch::nn::Linear fc1{nullptr};   ///< embed_dim to dim_feedforward
  torch::nn::Linear gate{nullptr};  ///< SwiGLU only: embed_dim to dim_feedforward
  AnyNorm inside_norm;              ///< On the input of fc2; empty if there is none.
  torch::nn::Linear fc2{nullptr};   ///< dim_feedforward to embed_dim

 private:
  torch::Tensor activate(const torch::Tensor& x) {
    switch (options.activation()) {
      case Activation::kReLU:
        return evenkeel::detail::biased_linear(x, fc1->weight, fc1->bias, /*relu=*/true);
      case Activation::kGELU:
        return torch::gelu(fc1(x));
      case Activation::kSwiGLU:
        return torch::silu(gate(x)) * fc1(x);
      case Activation::kLeakyReLU:
        return torch::leaky_relu(fc1(x), options.negative_slope());
      case Activation::kSiLU:
        return torch::silu(fc1(x));
    }
    TORCH_CHECK(false, "FeedForward: unknown activation ", static_cast<int>(options.activation()));
  }
};

/// A `ModuleHolder` for `FeedForwardImpl`: copies of it share one module.
TORCH_MODULE(FeedForward);

}  // namespace evenkeel::nn

template <>
struct evenkeel::AnatomyOf<evenkeel::nn::FeedForward> {
  static void describe(nn::FeedForwardImpl& feed_forward, AnatomyBuilder& anatomy) {
    auto sublayer = anatomy.sublayer("feed_forward");
    describe(feed_forward, sublayer);
  }
  static void describe(nn::FeedForwardImpl& feed_forward, SublayerBuilder& sublayer) {
    sublayer.input(feed_forward.fc1);
    if (!feed_forward.gate.is_empty()) sublayer.gate(feed_forward.gate);
    sublayer.output(feed_forward.fc2);
    if (!feed_forward.inside_norm.is_empty()) {
      sublayer.norm(feed_forward.inside_norm.ptr(), NormSlot::kInside);
    }
  }
};
