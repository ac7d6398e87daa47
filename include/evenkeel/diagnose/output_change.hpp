// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/detail/contained.hpp>
#include <evenkeel/diagnose/detail/moved_weights.hpp>
#include <evenkeel/diagnose/detail/perturb.hpp>
#include <evenkeel/diagnose/detail/restore_guard.hpp>
#include <evenkeel/diagnose/output_change_options.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace evenkeel {

/// What `output_change` measured.
struct OutputChange {
  double mean = 0.0;            ///< E|f(x,w) - f(x,w+delta)|^2, the mean over trials.
  double standard_error = 0.0;  ///< Of the mean; 0 for a single trial.
  std::vector<double> trials;   ///< The value of each trial.
};

namespace detail {

inline void check(const OutputChangeOptions& options) {
  TORCH_CHECK(options.trials() >= 1,
              "output_change: expected trials >= 1, but got ",
              options.trials());
  TORCH_CHECK(std::isfinite(options.magnitude()) && options.magnitude() >= 0.0,
              "output_change: expected a finite magnitude >= 0, but got ",
              options.magnitude());
  TORCH_CHECK(options.perturbation() != Perturbation::kGradient || options.loss(),
              "output_change: expected a loss for the perturbation gradient, but got none");
}

/// The values of an output in float64, in vectors along the last dimension; a complex value is two.
/// Always a copy: a callable may return the same tensor each time, or a view of a weight.
inline torch::Tensor output_values(const torch::Tensor& output) {
  TORCH_CHECK(output.defined(),
              "output_change: expected the callable to return a tensor, but got an undefined one");
  TORCH_CHECK(output.is_floating_point() || output.is_complex(),
              "output_change: expected the callable to return floating-point values, such as "
              "logits, but got ",
              output.scalar_type());
  TORCH_CHECK(output.numel() > 0,
              "output_change: expected the callable to return values, but got an empty tensor of "
              "shape ",
              output.sizes());
  auto values = at::atleast_1d(output);
  if (values.is_complex()) values = at::view_as_real(values.resolve_conj()).flatten(-2);
  return values.to(torch::kFloat64, /*non_blocking=*/false, /*copy=*/true);
}

/// Squared distance over the last dimension, averaged over all others.
inline double squared_distance(const torch::Tensor& before, const torch::Tensor& after) {
  TORCH_CHECK(before.sizes() == after.sizes(),
              "output_change: expected the callable to return shape ",
              before.sizes(),
              " again, but got ",
              after.sizes());
  const auto vectors = static_cast<double>(before.numel()) / static_cast<double>(before.size(-1));
  return (before - after).square_().sum().item<double>() / vectors;
}

}  // namespace detail

/// Measures the output change E|f(x,w) - f(x,w+delta)|^2 of a model under a small step delta of its
/// weights:
///
///     auto change = evenkeel::output_change(*model, [&] { return model->forward(src, tgt); },
///                                           evenkeel::OutputChangeOptions().trials(8));
///
/// `f` takes nothing and returns a floating-point or complex tensor of shape (*, embed_dim). The
/// squared distance is taken over the last dimension and averaged over all others, in float64.
/// `f` runs in evaluation mode and without autograd, once before the weights move and once in each
/// trial. Each run starts from the same buffers, random state and (undefined) gradients.
///
/// Afterwards the model is as it was, bit for bit, also when `f` throws: parameters, buffers,
/// gradients, LibTorch's default generators, and the mode of every module. A graph built before the
/// call can still run backward. Weights that share memory are tied and move once.
///
/// Throws c10::Error for options, outputs or parameters that cannot be measured, such as integer or
/// NaN outputs, and for weights that overlap in part.
///
/// In half precision the result may be too low or too high, because each step is rounded to a
/// neighbouring value: measure in float32.
/// Paper: Liu et al. 2020, https://arxiv.org/abs/2004.08249; code: LiyuanLucasLiu/
/// Transformer-Clinic.
template <typename Model, typename F>
OutputChange output_change(Model&& model, F&& f, const OutputChangeOptions& options = {}) {
  auto& module = detail::contained(model);
  detail::check(options);
  const auto weights = detail::moved_weights(module, options);
  const bool by_gradient = options.perturbation() == Perturbation::kGradient;

  detail::RestoreGuard guard(module, "output_change");
  const auto reset = [&](bool moved) {
    if (moved || guard.touched()) guard.restore_tensors();
    guard.restore_generators();
    module.eval();
  };
  const auto run = [&] {
    const torch::NoGradGuard no_grad;
    return detail::output_values(f());
  };
  module.eval();
  const auto signs =
      by_gradient ? detail::gradient_signs(weights, options) : std::vector<torch::Tensor>();
  reset(/*moved=*/false);
  const torch::Tensor before = run();
  TORCH_CHECK(std::isfinite(before.sum().item<double>()),
              "output_change: expected the callable to return finite values, but some are NaN or "
              "infinite");

  OutputChange change;
  for (int64_t trial = 0; trial < options.trials(); ++trial) {
    reset(/*moved=*/trial > 0);
    if (by_gradient) {
      detail::move_by_gradient(weights, signs, options.magnitude());
    } else {
      detail::move_by_chance(weights, options, static_cast<uint64_t>(trial));
    }
    change.trials.push_back(detail::squared_distance(before, run()));
    TORCH_CHECK(std::isfinite(change.trials.back()),
                "output_change: expected the callable to return finite values, but some are NaN or "
                "infinite once the weights have moved by ",
                options.magnitude());
  }
  guard.restore();

  const auto count = static_cast<double>(change.trials.size());
  double squares = 0.0;
  for (const auto value : change.trials) change.mean += value / count;
  for (const auto value : change.trials) squares += (value - change.mean) * (value - change.mean);
  if (change.trials.size() > 1) {
    change.standard_error = std::sqrt(squares / (count - 1.0) / count);
  }
  return change;
}

}  // namespace evenkeel
