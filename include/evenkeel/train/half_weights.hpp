// SPDX-License-Identifier: MIT
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <algorithm>

namespace evenkeel::train {

/// Casts a model's weights to a half type, in place: those of every module that has a matrix, with
/// its biases. Norms and gains, which are small and suffer most from rounding, stay as they are; so
/// do buffers. Without autocast such a model computes in the half type, and no weight or activation
/// is cast in between: it is faster than autocast, and its residual stream is of the half type.
///
///     use_half_weights(*model, torch::kBFloat16);
///     FusedAdam adam(model->parameters(), FusedAdamOptions(3e-4).master_weights(true));
///
/// Throws c10::Error for a dtype that is not bfloat16 or half.
inline void use_half_weights(torch::nn::Module& model, torch::ScalarType dtype) {
  TORCH_CHECK(dtype == torch::kBFloat16 || dtype == torch::kHalf,
              "use_half_weights: expected bfloat16 or half, but got ",
              dtype);
  const torch::NoGradGuard no_grad;
  for (const auto& module : model.modules()) {
    auto parameters = module->parameters(/*recurse=*/false);
    const bool has_matrix = std::any_of(parameters.begin(),
                                        parameters.end(),
                                        [](const auto& parameter) { return parameter.dim() >= 2; });
    if (!has_matrix) continue;
    for (auto& parameter : parameters) {
      if (parameter.is_floating_point()) parameter.set_data(parameter.to(dtype));
    }
  }
}

}  // namespace evenkeel::train
