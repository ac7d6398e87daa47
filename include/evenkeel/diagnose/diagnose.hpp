// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/detail/contained.hpp>
#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/diagnose/detail/doctor.hpp>
#include <evenkeel/diagnose/diagnose_options.hpp>
#include <evenkeel/diagnose/diagnosis.hpp>

#include <torch/types.h>

#include <utility>

namespace evenkeel {

/// Says what will become of a model's training, where it goes wrong and what mends it, before
/// training, during it, or of a checkpoint:
///
///     const auto diagnosis = evenkeel::diagnose(
///         model,
///         [&] { return loss_of(model->forward(src, tgt)); },
///         evenkeel::DiagnoseOptions().learning_rate(1e-3).warmup_steps(4000));
///     std::cout << diagnosis.verdict;
///
/// `loss` runs the model once on a batch of real data, the same one each time, and returns the mean
/// loss a token, a scalar with a graph. It is called at most 12 times, 7 of them with a backward
/// pass; the model is in evaluation mode, so that nothing is dropped. The model is one that
/// `anatomy_of` knows, and `Blocks...` are the types of a user's own blocks, as there. Sub-layers
/// are seen where they join by `Residual` or `AdminResidual`, and otherwise where their matrices
/// run as `torch::linear` does; what is not seen is NaN.
///
/// Afterwards the model is as it was, bit for bit, also when `loss` throws: parameters, buffers and
/// their versions, gradients, LibTorch's default generators, and the mode of every module.
///
/// Throws c10::Error for options, a model or a loss that cannot be measured.
template <typename... Blocks, typename Model, typename Loss>
Diagnosis diagnose(Model&& model, Loss&& loss, const DiagnoseOptions& options = {}) {
  options.check();
  auto& module = detail::contained(model);
  const auto anatomy = anatomy_of<Blocks...>(model, options.stack());
  return detail::Doctor(
             module,
             anatomy,
             [&]() -> torch::Tensor { return loss(); },
             options)
      .run();
}

}  // namespace evenkeel
