// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/fused_residual.hpp>
#include <evenkeel/residual/norm_module.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <ostream>

namespace evenkeel {

/// Options for `DyT`, e.g. `DyTOptions(512).alpha(0.8)`.
struct DyTOptions {
  // NOLINTNEXTLINE(google-explicit-constructor): a bare size is the common case
  DyTOptions(int64_t embed_dim) : embed_dim_(embed_dim) {}

  /// Size of the last dimension of the input.
  TORCH_ARG(int64_t, embed_dim);
  /// Initial value of alpha. Default: 0.5
  TORCH_ARG(double, alpha) = 0.5;
};

/// Dynamic tanh, which replaces a norm without computing statistics:
///
///     y = tanh(alpha * x) * weight + bias
///
/// Shapes: x and y are (*, embed_dim); weight and bias are (embed_dim), alpha is (1).
/// Paper: Zhu et al. 2025, https://arxiv.org/abs/2503.10622.
class DyTImpl : public torch::nn::Cloneable<DyTImpl>, public NormModule {
 public:
  explicit DyTImpl(const DyTOptions& options_) : options(options_) {
    TORCH_CHECK(options.embed_dim() > 0,
                "DyT: expected embed_dim > 0, but got ",
                options.embed_dim());
    reset();
  }

  void reset() override {
    alpha = register_parameter("alpha", torch::full({1}, options.alpha(), torch::kFloat32));
    weight = register_parameter("weight", torch::ones({options.embed_dim()}));
    bias = register_parameter("bias", torch::zeros({options.embed_dim()}));
  }

  /// Sets alpha to its initial value, weight to 1 and bias to 0.
  void reset_parameters() {
    const torch::NoGradGuard no_grad;
    alpha.fill_(options.alpha());
    weight.fill_(1.0);
    bias.zero_();
  }

  torch::Tensor forward(const torch::Tensor& x) {
    const auto y = torch::tanh(detail::apply_gain(x, alpha));
    return detail::apply_gain(y, weight) + bias.to(y.scalar_type());
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::DyT(" << options.embed_dim() << ", alpha=" << options.alpha() << ")";
  }

  DyTOptions options;          ///< The options with which this module was constructed.
  torch::Tensor alpha;         ///< (1)
  torch::Tensor weight, bias;  ///< (embed_dim)
};

/// A `ModuleHolder` for `DyTImpl`: copies of it share one module.
TORCH_MODULE(DyT);

}  // namespace evenkeel
