// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/detail/contained.hpp>
#include <evenkeel/diagnose/detail/perturb.hpp>
#include <evenkeel/diagnose/detail/restore_guard.hpp>
#include <evenkeel/diagnose/output_change_options.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace evenkeel {

/// What `output_change` measured.
struct OutputChange {
  double mean = 0.0;            ///< E|f(x,w) - f(x,w+delta)|^2
  double standard_error = 0.0;  ///< Of the mean, over trials; 0 for a single one.
  std::vector<double> trials;   ///< Each trial's value.
};

namespace detail {

/// Squared distance of two outputs over the last dimension, averaged over all others, in float64.
inline double squared_distance(const torch::Tensor& a, const torch::Tensor& b) {
  TORCH_CHECK(a.sizes() == b.sizes(),
              "output_change: expected the callable to return shape ",
              a.sizes(),
              " again, but got ",
              b.sizes());
  const auto difference = a.to(torch::kFloat64) - b.to(torch::kFloat64);
  const auto vectors = difference.dim() == 0 ? 1 : difference.numel() / difference.size(-1);
  return difference.square().sum().item<double>() / static_cast<double>(vectors);
}

}  // namespace detail

/// The output change E|f(x,w) - f(x,w+delta)|^2 of a model under a small step of its weights:
///
///     auto change = evenkeel::output_change(*model, [&] { return model->forward(src, tgt); },
///                                           evenkeel::OutputChangeOptions().trials(8));
///
/// `f` is any callable that returns a tensor (*, embed_dim): the squared distance over the last
/// dimension, averaged over all others. It runs in evaluation mode, without autograd, and meets the
/// same state of LibTorch's generators each time. Sums are in float64.
/// Weights, buffers, generators and modes come back bit for bit, also when `f` throws.
/// A step that rounds away in a half-precision weight moves nothing: measure such models in
/// float32. Paper: Liu et al. 2020, https://arxiv.org/abs/2004.08249; code: LiyuanLucasLiu/
/// Transformer-Clinic.
template <typename Model, typename F>
OutputChange output_change(Model&& model, F&& f, const OutputChangeOptions& options = {}) {
  auto& module = detail::contained(model);
  TORCH_CHECK(options.trials() >= 1,
              "output_change: expected trials >= 1, but got ",
              options.trials());
  const bool by_gradient = options.perturbation() == Perturbation::kGradient;
  TORCH_CHECK(!by_gradient || options.loss(),
              "output_change: expected a loss for the perturbation gradient, but got none");
  const auto parameters = module.named_parameters();
  const auto weights = detail::moved_weights(module, parameters, options);

  detail::RestoreGuard guard(module, parameters.values(), weights);
  module.eval();
  const auto run = [&] {
    const torch::NoGradGuard no_grad;
    guard.restore_rng();
    torch::Tensor output = f();
    TORCH_CHECK(output.defined() && output.numel() > 0,
                "output_change: expected the callable to return a tensor, but got none");
    return output;
  };
  const auto gradients =
      by_gradient ? detail::loss_gradients(weights, options) : std::vector<torch::Tensor>();
  const auto before = run();

  OutputChange change;
  for (int64_t trial = 0; trial < options.trials(); ++trial) {
    if (trial > 0) guard.restore_tensors();
    if (by_gradient) {
      detail::move_by_gradient(weights, gradients, options.magnitude());
    } else {
      detail::move_by_chance(weights, options, static_cast<uint64_t>(trial));
    }
    change.trials.push_back(detail::squared_distance(before, run()));
  }
  double squares = 0.0;
  const auto count = static_cast<double>(change.trials.size());
  for (const auto value : change.trials) change.mean += value / count;
  for (const auto value : change.trials) squares += (value - change.mean) * (value - change.mean);
  if (change.trials.size() > 1) {
    change.standard_error = std::sqrt(squares / (count - 1.0) / count);
  }
  return change;
}

}  // namespace evenkeel
