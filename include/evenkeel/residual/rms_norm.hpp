// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/fused_residual.hpp>
#include <evenkeel/residual/fused_norm.hpp>
#include <evenkeel/residual/norm_module.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <optional>
#include <ostream>

namespace evenkeel {

/// Options for `RMSNorm`, e.g. `RMSNormOptions(512).eps(1e-5)`.
struct RMSNormOptions {
  // NOLINTNEXTLINE(google-explicit-constructor): a bare size is the common case
  RMSNormOptions(int64_t embed_dim) : embed_dim_(embed_dim) {}

  /// Size of the last dimension of the input.
  TORCH_ARG(int64_t, embed_dim);
  /// Added to the mean of the squares. Default: 1e-6
  TORCH_ARG(double, eps) = 1e-6;
};

/// Root mean square norm over the last dimension,
///
///     y = x / sqrt(mean(x^2) + eps) * weight
///
/// Shapes: x and y are (*, embed_dim), weight is (embed_dim). Statistics are computed in float32
/// for half types. Paper: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467.
class RMSNormImpl : public torch::nn::Cloneable<RMSNormImpl>, public NormModule {
 public:
  explicit RMSNormImpl(const RMSNormOptions& options_) : options(options_) {
    TORCH_CHECK(options.embed_dim() > 0,
                "RMSNorm: expected embed_dim > 0, but got ",
                options.embed_dim());
    reset();
  }

  void reset() override {
    weight = register_parameter("weight", torch::ones({options.embed_dim()}));
  }

  /// Sets the weight to 1.
  void reset_parameters() {
    const torch::NoGradGuard no_grad;
    weight.fill_(1.0);
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return detail::plain_norm(x, ResidualNorm::rms_norm(weight, options.eps()));
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::RMSNorm(" << options.embed_dim() << ", eps=" << options.eps() << ")";
  }

  RMSNormOptions options;  ///< The options with which this module was constructed.
  torch::Tensor weight;    ///< (embed_dim)
};

/// A `ModuleHolder` for `RMSNormImpl`: copies of it share one module.
TORCH_MODULE(RMSNorm);

template <>
struct FusedNorm<RMSNorm> {
  static std::optional<ResidualNorm> of(const RMSNormImpl& norm) {
    return ResidualNorm::rms_norm(norm.weight, norm.options.eps());
  }
};

}  // namespace evenkeel
