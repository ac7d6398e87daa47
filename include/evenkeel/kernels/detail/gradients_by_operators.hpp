// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/platform.hpp>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

#include <cstddef>
#include <utility>

namespace evenkeel::detail {

/// What a kernel's backward gives, by operators that can be differentiated again: of the inputs of
/// which `wanted(i)` says so. `compute()` gives the outputs from the tensors that `inputs` point
/// to, and `gradients` those of the outputs, undefined where they are 0.
template <typename Inputs, typename Wanted, typename Compute>
EVENKEEL_COLD void gradients_by_operators(const Inputs& inputs,
                                          const Wanted& wanted,
                                          const Compute& compute,
                                          const torch::autograd::variable_list& gradients,
                                          torch::autograd::variable_list& results) {
  const bool differentiate_again = at::GradMode::is_enabled();
  const at::AutoGradMode grad_mode(true);
  // Aliases, since one tensor may stand in two places and each has a gradient of its own.
  torch::autograd::variable_list of;
  for (size_t i = 0; i < inputs.size(); ++i) {
    auto& tensor = *inputs[i];
    if (!tensor.defined()) continue;
    tensor = tensor.view_as(tensor);
    if (wanted(i)) of.push_back(tensor);
  }
  const torch::autograd::variable_list outputs = compute();
  torch::autograd::variable_list roots;
  torch::autograd::variable_list root_gradients;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!gradients[i].defined() || !outputs[i].requires_grad()) continue;
    roots.push_back(outputs[i]);
    root_gradients.push_back(gradients[i].to(outputs[i].scalar_type()));
  }
  const auto computed = torch::autograd::grad(roots,
                                              of,
                                              root_gradients,
                                              /*retain_graph=*/true,
                                              /*create_graph=*/true,
                                              /*allow_unused=*/true);
  size_t next = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i]->defined() || !wanted(i)) continue;
    auto gradient = computed[next++];
    if (!differentiate_again && gradient.defined()) gradient = gradient.detach();
    results[i] = std::move(gradient);
  }
}

}  // namespace evenkeel::detail
