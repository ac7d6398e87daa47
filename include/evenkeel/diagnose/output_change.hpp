// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/detail/contained.hpp>
#include <evenkeel/diagnose/detail/random_signs.hpp>
#include <evenkeel/diagnose/detail/restore_guard.hpp>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/_foreach_add.h>
#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/autograd.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

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

/// What `output_change` measured.
struct OutputChange {
  double mean = 0.0;            ///< E|f(x,w) - f(x,w+delta)|^2
  double standard_error = 0.0;  ///< Of the mean, over trials; 0 for a single one.
  std::vector<double> trials;   ///< Each trial's value.
};

namespace detail {

inline std::vector<torch::Tensor> moved_weights(const torch::nn::Module& model,
                                                const OutputChangeOptions& options) {
  std::vector<torch::Tensor> weights;
  std::unordered_set<const void*> seen;  // a tied weight moves once
  for (const auto& parameter : model.named_parameters()) {
    const auto& weight = parameter.value();
    const bool moves = options.moves() ? options.moves()(parameter.key(), weight)
                                       : weight.is_floating_point() && weight.dim() >= 2;
    if (!moves || !seen.insert(weight.unsafeGetTensorImpl()).second) continue;
    TORCH_CHECK(weight.is_floating_point(),
                "output_change: expected ",
                parameter.key(),
                " of floating point to move it, but got ",
                weight.scalar_type());
    weights.push_back(weight);
  }
  TORCH_CHECK(!weights.empty(),
              "output_change: expected at least one parameter of ",
              model.name(),
              " to move, but none does");
  return weights;
}

/// Adds delta to every weight. On the CPU each weight has a random stream of its own, so the result
/// does not depend on how many threads share the work; elsewhere all weights of one device and
/// dtype are drawn at once, since small kernels cost more to launch than to run.
inline void move_by_chance(const std::vector<torch::Tensor>& weights,
                           const OutputChangeOptions& options,
                           uint64_t trial) {
  const torch::NoGradGuard no_grad;
  const bool signs = options.perturbation() == Perturbation::kSign;
  const auto seed_of = [&](size_t i) {
    return (options.seed() + 1) * 0x9E3779B97F4A7C15U + trial * weights.size() + i;
  };
  const auto draw = [&](torch::Tensor delta, at::Generator generator, uint64_t seed) {
    generator.set_current_seed(seed);
    delta.normal_(0.0, 1.0, generator);
    if (signs) delta.sign_();
    return delta;
  };
  std::vector<size_t> drawn_on_cpu;
  std::map<std::pair<std::string, torch::ScalarType>, std::vector<torch::Tensor>> elsewhere;
  for (size_t i = 0; i < weights.size(); ++i) {
    auto weight = weights[i].detach();
    if (!weight.device().is_cpu()) {
      elsewhere[{weight.device().str(), weight.scalar_type()}].push_back(weight);
    } else if (signs && weight.is_contiguous()) {
      add_random_signs(weight, options.magnitude(), seed_of(i));
    } else {
      drawn_on_cpu.push_back(i);
    }
  }
  const auto count = static_cast<int64_t>(drawn_on_cpu.size());
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const torch::NoGradGuard no_grad_in_this_thread;
    for (auto n = begin; n < end; ++n) {
      const auto i = drawn_on_cpu[static_cast<size_t>(n)];
      auto weight = weights[i].detach();
      weight.add_(draw(torch::empty_like(weight), at::detail::createCPUGenerator(), seed_of(i)),
                  options.magnitude());
    }
  });
  for (const auto& group : elsewhere) {
    const auto& moved = group.second;
    std::vector<int64_t> sizes;
    int64_t total = 0;
    for (const auto& weight : moved) {
      sizes.push_back(weight.numel());
      total += weight.numel();
    }
    const auto device = moved.front().device();
    auto deltas = draw(torch::empty({total}, moved.front().options()),
                       at::globalContext().defaultGenerator(device).clone(),
                       seed_of(0))
                      .split_with_sizes(sizes);
    for (size_t i = 0; i < moved.size(); ++i) deltas[i] = deltas[i].view(moved[i].sizes());
    at::_foreach_add_(moved, deltas, options.magnitude());
  }
}

inline std::vector<torch::Tensor> loss_gradients(const std::vector<torch::Tensor>& weights,
                                                 const OutputChangeOptions& options) {
  for (const auto& weight : weights) {
    TORCH_CHECK(weight.requires_grad(),
                "output_change: expected every weight that the gradient moves to require it, but "
                "one of shape ",
                weight.sizes(),
                " does not");
  }
  const torch::AutoGradMode enable(true);
  const auto loss = options.loss()();
  TORCH_CHECK(loss.defined() && loss.numel() == 1,
              "output_change: expected the loss to be a scalar, but got ",
              loss.defined() ? loss.sizes() : torch::IntArrayRef());
  return torch::autograd::grad({loss},
                               weights,
                               /*grad_outputs=*/{},
                               /*retain_graph=*/std::nullopt,
                               /*create_graph=*/false,
                               /*allow_unused=*/true);
}

inline void move_by_gradient(const std::vector<torch::Tensor>& weights,
                             const std::vector<torch::Tensor>& gradients,
                             double magnitude) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (gradients[i].defined()) weights[i].detach().sub_(gradients[i].sign(), magnitude);
  }
}

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
  const auto weights = detail::moved_weights(module, options);

  detail::RestoreGuard guard(module, weights);
  module.eval();
  const auto run = [&] {
    const torch::NoGradGuard no_grad;
    guard.restore_rng();
    const torch::Tensor output = f();
    TORCH_CHECK(output.defined() && output.numel() > 0,
                "output_change: expected the callable to return a tensor, but got none");
    return output;
  };
  const auto gradients =
      by_gradient ? detail::loss_gradients(weights, options) : std::vector<torch::Tensor>();
  const auto before = run();

  OutputChange change;
  for (int64_t trial = 0; trial < options.trials(); ++trial) {
    if (by_gradient) {
      detail::move_by_gradient(weights, gradients, options.magnitude());
    } else {
      detail::move_by_chance(weights, options, static_cast<uint64_t>(trial));
    }
    change.trials.push_back(detail::squared_distance(before, run()));
    guard.restore_tensors();
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
