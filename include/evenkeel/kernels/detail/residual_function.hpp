// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/plain_residual.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/residual_compute.hpp>
#include <evenkeel/kernels/residual_terms.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// 1 / (1 - p) where the dropout that `saved` speaks of keeps an element, 0 elsewhere; float32.
inline at::Tensor dropout_factors(const ResidualCall& call, const at::Tensor& saved) {
  ResidualCall ones;
  ones.x = at::zeros(call.x.sizes(), call.x.options().dtype(at::kFloat));
  ones.f = ones.x;
  ones.settings.threshold = call.settings.threshold;
  // Backward of a sum: what reaches f of a gradient of 1.
  auto config = config_of(ones);
  config.backward = 1;
  config.has_dsum = 1;
  config.df = 1;
  const auto factors = residual_backward(config, ones, {}, at::ones_like(ones.x), saved);
  TORCH_CHECK(factors, "fused_residual: no kernel recomputes the dropout mask");
  return factors->f;
}

/// The outputs, sum and then norm as far as wanted, by differentiable operators and with the mask
/// that the kernel drew. In float32: it is what double backward goes through.
inline std::vector<at::Tensor> differentiable_residual(const ResidualCall& call,
                                                       const at::Tensor& factors) {
  const auto wide = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.to(at::kFloat) : tensor;
  };
  const auto& settings = call.settings;
  ResidualTerms terms{wide(call.x), wide(call.f), wide(call.a), wide(call.b), {}};
  if (call.c.defined()) terms.f_x = terms.f_x + wide(call.c);
  if (factors.defined()) terms.f_x = terms.f_x * factors;
  const auto sum = plain_sum(terms);
  std::vector<at::Tensor> outputs;
  if (settings.has_sum()) outputs.push_back(sum.to(type_of_code(settings.sum)));
  if (settings.has_norm()) {
    const ResidualNorm norm{static_cast<NormKind>(uint32_t{settings.norm}),
                            wide(call.w),
                            wide(call.beta),
                            settings.eps};
    outputs.push_back(plain_norm(sum, norm).to(type_of_code(settings.y)));
  }
  return outputs;
}

/// The fused residual as autograd sees it. Its outputs are the sum and then the norm, as far as
/// wanted.
class ResidualFunction : public torch::autograd::Function<ResidualFunction> {
  using Context = torch::autograd::AutogradContext;
  using Tensors = torch::autograd::variable_list;
  using Optional = std::optional<at::Tensor>;

 public:
  static Tensors run(const ResidualCall& call) {
    const auto optional = [](const at::Tensor& tensor) {
      return tensor.defined() ? Optional(tensor) : std::nullopt;
    };
    return apply(call.x,
                 call.f,
                 optional(call.a),
                 optional(call.b),
                 optional(call.c),
                 optional(call.w),
                 optional(call.beta),
                 &call);
  }

  static Tensors forward(Context* context,
                         const at::Tensor& /*x*/,
                         const at::Tensor& /*f*/,
                         const Optional& /*a*/,
                         const Optional& /*b*/,
                         const Optional& /*c*/,
                         const Optional& /*w*/,
                         const Optional& /*beta*/,
                         const ResidualCall* call) {
    auto outputs = residual_forward(*call, /*save=*/true);
    context->save_for_backward(
        {call->x, call->f, call->a, call->b, call->c, call->w, call->beta, outputs.saved});
    context->saved_data["settings"] = call->settings.packed();
    context->set_materialize_grads(false);
    Tensors results;
    if (outputs.sum.defined()) results.push_back(std::move(outputs.sum));
    if (outputs.y.defined()) results.push_back(std::move(outputs.y));
    return results;
  }

  static Tensors backward(Context* context, Tensors gradients) {
    constexpr size_t kTensors = 7;
    Tensors results(kTensors + 1);
    const auto variables = context->get_saved_variables();
    ResidualCall call;
    call.x = variables[0];
    call.f = variables[1];
    call.a = variables[2];
    call.b = variables[3];
    call.c = variables[4];
    call.w = variables[5];
    call.beta = variables[6];
    call.settings = ResidualSettings::unpacked(context->saved_data["settings"].toInt());
    const auto& saved = variables[kTensors];

    std::array<bool, kTensors> wanted{};
    size_t edge = 0;
    for (size_t i = 0; i < kTensors; ++i) {
      if (variables[i].defined()) wanted[i] = context->needs_input_grad(edge++);
    }
    const bool has_sum = call.settings.has_sum();
    at::Tensor dsum = has_sum ? gradients.front() : at::Tensor();
    at::Tensor dy = call.settings.has_norm() ? gradients.back() : at::Tensor();
    if (!dsum.defined() && !dy.defined()) return results;
    if (at::GradMode::is_enabled()) {
      through_operators(call, saved, gradients, wanted, results);
      return results;
    }

    auto config = config_of(call);
    config.backward = 1;
    config.has_sum = 0;
    config.has_dy = dy.defined();
    config.has_dsum = dsum.defined();
    config.dx = wanted[0];
    config.df = wanted[1];
    config.da = wanted[2];
    config.db = wanted[3];
    config.dc = wanted[4];
    config.dw = wanted[5] && dy.defined();
    config.dbeta = wanted[6] && dy.defined();
    dy = prepared(dy, call.settings.y);
    dsum = prepared(dsum, call.settings.sum);
    auto computed = residual_backward(config, call, dy, dsum, saved);
    if (!computed) {  // the warning has been given
      const at::AutoGradMode grad_mode(true);
      through_operators(call, saved, gradients, wanted, results);
      for (auto& result : results) {
        if (result.defined()) result = result.detach();
      }
      return results;
    }
    results[0] = std::move(computed->x);
    results[1] = std::move(computed->f);
    results[2] = std::move(computed->a);
    results[3] = std::move(computed->b);
    results[4] = std::move(computed->c);
    results[5] = std::move(computed->w);
    results[6] = std::move(computed->beta);
    return results;
  }

 private:
  static at::Tensor prepared(const at::Tensor& gradient, uint32_t type) {
    return gradient.defined() ? aligned(gradient.to(type_of_code(type))) : gradient;
  }

  /// The same gradients by operators that can be differentiated again.
  static void through_operators(ResidualCall call,
                                const at::Tensor& saved,
                                const Tensors& gradients,
                                const std::array<bool, 7>& wanted,
                                Tensors& results) {
    at::Tensor factors;
    if (call.settings.drops()) {
      const at::NoGradGuard no_grad;
      factors = dropout_factors(call, saved);
    }
    // Aliases, since one tensor may stand in two places and each has a gradient of its own.
    const std::array<at::Tensor*, 7>
        tensors{&call.x, &call.f, &call.a, &call.b, &call.c, &call.w, &call.beta};
    Tensors inputs;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (!tensors[i]->defined()) continue;
      *tensors[i] = tensors[i]->view_as(*tensors[i]);
      if (wanted[i]) inputs.push_back(*tensors[i]);
    }
    auto outputs = differentiable_residual(call, factors);
    Tensors roots;
    Tensors root_gradients;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!gradients[i].defined()) continue;
      roots.push_back(outputs[i]);
      root_gradients.push_back(gradients[i].to(outputs[i].scalar_type()));
    }
    const auto computed = torch::autograd::grad(roots,
                                                inputs,
                                                root_gradients,
                                                /*retain_graph=*/true,
                                                /*create_graph=*/true,
                                                /*allow_unused=*/true);
    size_t next = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (wanted[i]) results[i] = computed[next++];
    }
  }
};

}  // namespace evenkeel::detail
