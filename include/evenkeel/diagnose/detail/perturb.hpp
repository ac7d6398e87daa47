// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/detail/flat_copies.hpp>
#include <evenkeel/diagnose/detail/random_signs.hpp>
#include <evenkeel/diagnose/output_change_options.hpp>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/_foreach_add.h>
#include <c10/util/Exception.h>
#include <torch/autograd.h>
#include <torch/nn/module.h>
#include <torch/ordered_dict.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

namespace evenkeel::detail {

inline std::vector<torch::Tensor> moved_weights(
    const torch::nn::Module& model,
    const torch::OrderedDict<std::string, torch::Tensor>& parameters,
    const OutputChangeOptions& options) {
  std::vector<torch::Tensor> weights;
  std::unordered_set<const void*> seen;  // a tied weight moves once
  for (const auto& parameter : parameters) {
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
  std::vector<torch::Tensor> elsewhere;
  for (size_t i = 0; i < weights.size(); ++i) {
    auto weight = weights[i].detach();
    if (!weight.device().is_cpu()) {
      elsewhere.push_back(weight);
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
  for (const auto& group : flat_copies(elsewhere)) {
    const auto generator = at::globalContext().defaultGenerator(group.flat.device()).clone();
    draw(group.flat, generator, seed_of(0));
    at::_foreach_add_(group.tensors, group.copies, options.magnitude());
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

}  // namespace evenkeel::detail
