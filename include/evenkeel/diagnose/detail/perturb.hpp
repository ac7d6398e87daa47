// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/detail/elements.hpp>
#include <evenkeel/diagnose/detail/flat_copies.hpp>
#include <evenkeel/diagnose/detail/moved_weights.hpp>
#include <evenkeel/diagnose/detail/random_signs.hpp>
#include <evenkeel/diagnose/output_change_options.hpp>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/_foreach_add.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace evenkeel::detail {

/// Adds delta to every weight. On the CPU each weight has a random stream of its own, so the result
/// does not depend on how many threads share the work; elsewhere all weights of one device and
/// dtype are drawn at once, since small kernels cost more to launch than to run.
inline void move_by_chance(const std::vector<MovedWeight>& weights,
                           const OutputChangeOptions& options,
                           uint64_t trial) {
  const c10::InferenceMode inference;
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
  std::vector<torch::Tensor> elsewhere;
  for (size_t i = 0; i < weights.size(); ++i) {
    auto elements = weights[i].elements;
    if (!elements.device().is_cpu()) {
      elsewhere.push_back(elements);
    } else if (signs && elements.is_contiguous()) {
      add_random_signs(elements, options.magnitude(), seed_of(i));
    } else {
      drawn_on_cpu.push_back(i);
    }
  }
  const auto count = static_cast<int64_t>(drawn_on_cpu.size());
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference_in_this_thread;
    for (auto n = begin; n < end; ++n) {
      const auto i = drawn_on_cpu[static_cast<size_t>(n)];
      auto elements = weights[i].elements;
      elements.add_(draw(torch::empty_like(elements), at::detail::createCPUGenerator(), seed_of(i)),
                    options.magnitude());
    }
  });
  for (const auto& group : flat_copies(elsewhere)) {
    const auto generator = at::globalContext().defaultGenerator(group.flat.device()).clone();
    draw(group.flat, generator, seed_of(0));
    at::_foreach_add_(group.tensors, group.copies, options.magnitude());
  }
}

/// The sum of the gradients that tied parameters have, laid out as the memory that they share.
/// `gradients` begins with that of `weight.parameters[0]`; undefined where all of them are.
inline torch::Tensor gradient_of(const MovedWeight& weight, const torch::Tensor* gradients) {
  const auto& elements = weight.elements;
  torch::Tensor memory;
  for (size_t i = 0; i < weight.parameters.size(); ++i) {
    auto gradient = gradients[i];
    if (!gradient.defined()) continue;
    if (gradient.layout() != torch::kStrided) gradient = gradient.to_dense();
    if (!memory.defined()) memory = torch::zeros({extent_of(elements)}, elements.options());
    const auto shown = without_repeats(weight.parameters[i]);
    const auto distance = addresses_of(shown).first - addresses_of(elements).first;
    memory
        .as_strided(shown.sizes(),
                    shown.strides(),
                    static_cast<int64_t>(distance) / elements.element_size())
        .add_(gradient.sum_to_size(shown.sizes()));
  }
  return memory.defined() ? memory.as_strided(elements.sizes(), elements.strides()) : memory;
}

/// The sign of the loss's gradient for every weight; undefined for one that it does not depend on.
inline std::vector<torch::Tensor> gradient_signs(const std::vector<MovedWeight>& weights,
                                                 const OutputChangeOptions& options) {
  std::vector<torch::Tensor> parameters;
  for (const auto& weight : weights) {
    for (const auto& parameter : weight.parameters) {
      TORCH_CHECK(parameter.requires_grad(),
                  "output_change: expected every weight that the gradient moves to require it, but "
                  "one of shape ",
                  parameter.sizes(),
                  " does not");
      parameters.push_back(parameter);
    }
  }
  torch::Tensor loss;
  {
    const torch::AutoGradMode enable(true);
    loss = options.loss()();
  }
  TORCH_CHECK(loss.defined() && loss.numel() == 1,
              "output_change: expected the loss to be a scalar, but got ",
              loss.defined() ? loss.sizes() : torch::IntArrayRef());
  TORCH_CHECK(loss.requires_grad(),
              "output_change: expected a loss that depends on the weights, but got one without a "
              "gradient");
  const auto gradients = torch::autograd::grad({loss},
                                               parameters,
                                               /*grad_outputs=*/{},
                                               /*retain_graph=*/std::nullopt,
                                               /*create_graph=*/false,
                                               /*allow_unused=*/true);
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> signs;
  bool any = false;
  size_t first = 0;
  for (const auto& weight : weights) {
    auto gradient = gradient_of(weight, &gradients[first]);
    first += weight.parameters.size();
    if (gradient.defined()) {
      any = true;
      TORCH_CHECK(!gradient.isnan().any().item<bool>(),
                  "output_change: expected a loss whose gradient is not NaN, but that of ",
                  weight.name,
                  " holds NaN");
      gradient.sign_();
    }
    signs.push_back(gradient);
  }
  TORCH_CHECK(any,
              "output_change: expected a loss that depends on a weight that moves, but got one "
              "that depends on none");
  return signs;
}

inline void move_by_gradient(const std::vector<MovedWeight>& weights,
                             const std::vector<torch::Tensor>& signs,
                             double magnitude) {
  const c10::InferenceMode inference;
  for (size_t i = 0; i < weights.size(); ++i) {
    auto elements = weights[i].elements;
    if (signs[i].defined()) elements.sub_(signs[i], magnitude);
  }
}

}  // namespace evenkeel::detail
