// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/fused_residual.hpp>
#include <evenkeel/residual/norm_module.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <ostream>

namespace evenkeel {

/// Options for `ScaleNorm`, e.g. `ScaleNormOptions(512)`.
struct ScaleNormOptions {
  // NOLINTNEXTLINE(google-explicit-constructor): a bare size is the common case
  ScaleNormOptions(int64_t embed_dim) : embed_dim_(embed_dim) {}

  /// Size of the last dimension of the input.
  TORCH_ARG(int64_t, embed_dim);
  /// Lower bound on the length that a vector is divided by. Default: 1e-5
  TORCH_ARG(double, eps) = 1e-5;
};

/// Scales every vector to one trained length:
///
///     y = g * x / max(|x|, eps)
///
/// Shapes: x and y are (*, embed_dim); g is (1) and is initialised to sqrt(embed_dim), the length
/// of LayerNorm's output. Lengths are computed in float32 for half types.
/// Paper: Nguyen and Salazar 2019, https://arxiv.org/abs/1910.05895.
class ScaleNormImpl : public torch::nn::Cloneable<ScaleNormImpl>, public NormModule {
 public:
  explicit ScaleNormImpl(const ScaleNormOptions& options_) : options(options_) {
    TORCH_CHECK(options.embed_dim() > 0,
                "ScaleNorm: expected embed_dim > 0, but got ",
                options.embed_dim());
    reset();
  }

  void reset() override {
    g = register_parameter("g", torch::full({1}, initial_length(), torch::kFloat32));
  }

  /// Sets g to sqrt(embed_dim).
  void reset_parameters() {
    const torch::NoGradGuard no_grad;
    g.fill_(initial_length());
  }

  torch::Tensor forward(const torch::Tensor& x) {
    const auto wide = x.scalar_type() == torch::kFloat64 ? x : x.to(torch::kFloat32);
    const auto length = at::linalg_vector_norm(wide, 2, {-1}, /*keepdim=*/true);
    const auto unit = wide / length.clamp_min(options.eps());
    return detail::apply_gain(unit.to(x.scalar_type()), g);
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::ScaleNorm(" << options.embed_dim() << ", eps=" << options.eps() << ")";
  }

  ScaleNormOptions options;  ///< The options with which this module was constructed.
  torch::Tensor g;           ///< (1)

 private:
  double initial_length() const { return std::sqrt(static_cast<double>(options.embed_dim())); }
};

/// A `ModuleHolder` for `ScaleNormImpl`: copies of it share one module.
TORCH_MODULE(ScaleNorm);

}  // namespace evenkeel
