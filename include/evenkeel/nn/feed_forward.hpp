// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>

#include <ATen/ATen.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/init.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>

namespace evenkeel::nn {

/// Options for `FeedForward`, e.g. `FeedForwardOptions(512, 2048).dropout(0.1)`.
struct FeedForwardOptions {
  FeedForwardOptions(int64_t embed_dim, int64_t dim_feedforward)
      : embed_dim_(embed_dim), dim_feedforward_(dim_feedforward) {}

  /// Size of the last dimension of input and output.
  TORCH_ARG(int64_t, embed_dim);
  /// Size of the inner layer.
  TORCH_ARG(int64_t, dim_feedforward);
  /// Probability with which an inner activation is dropped while training. Default: 0
  TORCH_ARG(double, dropout) = 0.0;
};

/// fc2(relu(fc1(x))). Shapes: x and y are (*, embed_dim).
class FeedForwardImpl : public torch::nn::Cloneable<FeedForwardImpl> {
 public:
  explicit FeedForwardImpl(const FeedForwardOptions& options_) : options(options_) { reset(); }

  void reset() override {
    fc1 = register_module("fc1", torch::nn::Linear(options.embed_dim(), options.dim_feedforward()));
    fc2 = register_module("fc2", torch::nn::Linear(options.dim_feedforward(), options.embed_dim()));
    reset_parameters();
  }

  /// Xavier's rule, biases 0.
  void reset_parameters() {
    for (const auto& linear : {fc1, fc2}) {
      torch::nn::init::xavier_uniform_(linear->weight);
      torch::nn::init::zeros_(linear->bias);
    }
  }

  torch::Tensor forward(const torch::Tensor& x) {
    auto inner = torch::relu(fc1(x));
    if (options.dropout() > 0.0) inner = torch::dropout(inner, options.dropout(), is_training());
    return fc2(inner);
  }

  FeedForwardOptions options;      ///< The options with which this module was constructed.
  torch::nn::Linear fc1{nullptr};  ///< embed_dim to dim_feedforward
  torch::nn::Linear fc2{nullptr};  ///< dim_feedforward to embed_dim
};

/// A `ModuleHolder` for `FeedForwardImpl`: copies of it share one module.
TORCH_MODULE(FeedForward);

}  // namespace evenkeel::nn

template <>
struct evenkeel::AnatomyOf<evenkeel::nn::FeedForward> {
  static void describe(nn::FeedForwardImpl& feed_forward, AnatomyBuilder& anatomy) {
    anatomy.sublayer("feed_forward").input(feed_forward.fc1).output(feed_forward.fc2);
  }
};
