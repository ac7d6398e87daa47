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
  kSign,      ///< delta = +-magnitude at random; Transformer-Clinic's `plot_stability`
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
  /// Returns whether a parameter moves, given its registered name and value.
  using Filter = std::function<bool(const std::string&, const torch::Tensor&)>;
  /// Returns a scalar loss.
  using Loss = std::function<torch::Tensor()>;

  /// How the weights are moved. Default: `kSign`
  TORCH_ARG(Perturbation, perturbation) = Perturbation::kSign;
  /// How far each weight is moved, finite and not negative; the standard deviation for `kGaussian`.
  /// Default: 1e-4
  TORCH_ARG(double, magnitude) = 1e-4;
  /// The number of independent perturbations; `kGradient` repeats the same one. Default: 1
  TORCH_ARG(int64_t, trials) = 1;
  /// Seed of the perturbations, which have generators of their own. Default: 0
  TORCH_ARG(uint64_t, seed) = 0;
  /// Which parameters move. Default: those of two or more dimensions, so no bias, norm or gain
  TORCH_ARG(Filter, filter);
  /// The loss whose gradient gives the direction of `kGradient`, which needs it; otherwise unused.
  TORCH_ARG(Loss, loss);
};

}  // namespace evenkeel
