// SPDX-License-Identifier: MIT
#pragma once

#include <torch/arg.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>

namespace evenkeel {

/// How the weights are moved.
enum class Perturbation {
  kGaussian,  ///< delta ~ N(0, magnitude^2)
  kSign,      ///< delta = +-magnitude, each sign as likely; Transformer-Clinic's `plot_stability`
  kGradient   ///< delta = -magnitude * sign(gradient of the loss); its `gradient_as_delta`
};

constexpr const char* to_string(Perturbation perturbation) {
  switch (perturbation) {
    case Perturbation::kGaussian:
      return "gaussian";
    case Perturbation::kSign:
      return "sign";
    case Perturbation::kGradient:
      return "gradient";
  }
  return "?";
}

/// Options for `output_change`, e.g. `OutputChangeOptions().trials(8)`.
struct OutputChangeOptions {
  /// Which parameters move, by registered name and value.
  using Moves = std::function<bool(const std::string&, const torch::Tensor&)>;
  /// The loss whose gradient moves the weights.
  using Loss = std::function<torch::Tensor()>;

  /// How the weights are moved. Default: `sign`
  TORCH_ARG(Perturbation, perturbation) = Perturbation::kSign;
  /// How far each weight is moved; a gaussian's standard deviation. Default: 1e-4
  TORCH_ARG(double, magnitude) = 1e-4;
  /// Independent perturbations; the gradient's is always the same. Default: 1
  TORCH_ARG(int64_t, trials) = 1;
  /// Seed of the perturbations, which do not touch LibTorch's generators. Default: 0
  TORCH_ARG(uint64_t, seed) = 0;
  /// Which parameters move. Default: those of two dimensions and more, so no bias, norm or gain
  TORCH_ARG(Moves, moves);
  /// A scalar loss; needed for `gradient` and used for nothing else.
  TORCH_ARG(Loss, loss);
};

}  // namespace evenkeel
