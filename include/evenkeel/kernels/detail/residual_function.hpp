// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/plain_residual.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/residual_compute.hpp>
#include <evenkeel/kernels/residual_terms.hpp>

#include <ATen/ATen.h>
#include <ATen/SavedTensorHooks.h>
#include <c10/util/Exception.h>
#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <type_traits>
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

/// A node of autograd's graph: LibTorch holds them by std::shared_ptr, newer ones by intrusive_ptr.
template <typename T>
auto make_node() {
  if constexpr (std::is_base_of_v<c10::intrusive_ptr_target, T>) {
    return c10::make_intrusive<T>();
  } else {
    return std::shared_ptr<T>(new T, [](auto* node) { deleteNode(node); });
  }
}

/// The fused residual as autograd sees it. Its outputs are the sum and then the norm, as far as
/// wanted. A node of its own rather than a torch::autograd::Function: that costs the host less.
class ResidualFunction : public torch::autograd::Node {
  using Tensors = torch::autograd::variable_list;
  static constexpr size_t kTensors = 7;  // x, f, a, b, c, w, beta

 public:
  static Tensors run(const ResidualCall& call) {
    auto outputs = forward(call);
    const auto node = make_node<ResidualFunction>();
    node->set_next_edges(torch::autograd::collect_next_edges(call.x,
                                                             call.f,
                                                             call.a,
                                                             call.b,
                                                             call.c,
                                                             call.w,
                                                             call.beta));
    node->settings_ = call.settings;
    node->settings_.inputs_stayed = at::SavedTensorDefaultHooks::get_tls_state().stack.empty();
    const auto& saved = outputs.saved;
    size_t next = 0;
    for (const auto* tensor :
         {&call.x, &call.f, &call.a, &call.b, &call.c, &call.w, &call.beta, &saved}) {
      if (tensor->defined()) {
        node->saved_[next] = torch::autograd::SavedVariable(*tensor, /*is_output=*/false);
      }
      ++next;
    }
    Tensors results;
    results.reserve(2);
    if (outputs.sum.defined()) results.push_back(std::move(outputs.sum));
    if (outputs.y.defined()) results.push_back(std::move(outputs.y));
    for (auto& result : results) torch::autograd::set_history(result, node);
    return results;
  }

  Tensors apply(Tensors&& gradients) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Tensors results(kTensors);
    ResidualCall call;
    call.settings = settings_;
    size_t next = 0;
    for (auto* tensor : {&call.x, &call.f, &call.a, &call.b, &call.c, &call.w, &call.beta}) {
      *tensor = saved_[next++].unpack();
    }
    const auto saved = saved_[kTensors].unpack();
    std::array<bool, kTensors> wanted{};
    for (size_t i = 0; i < kTensors; ++i) wanted[i] = task_should_compute_output(i);
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

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& saved : saved_) saved.reset_data();
  }

 private:
  static ResidualOutputs forward(const ResidualCall& call) {
    const at::NoGradGuard no_grad;
    return residual_forward(call, /*save=*/true);
  }

  static at::Tensor prepared(const at::Tensor& gradient, uint32_t type) {
    if (!gradient.defined() || gradient.scalar_type() == type_of_code(type)) {
      return aligned(gradient);
    }
    return aligned(gradient.to(type_of_code(type)));
  }

  /// The same gradients by operators that can be differentiated again.
  static void through_operators(ResidualCall call,
                                const at::Tensor& saved,
                                const Tensors& gradients,
                                const std::array<bool, kTensors>& wanted,
                                Tensors& results) {
    at::Tensor factors;
    if (call.settings.drops()) {
      const at::NoGradGuard no_grad;
      factors = dropout_factors(call, saved);
    }
    // Aliases, since one tensor may stand in two places and each has a gradient of its own.
    const std::array<at::Tensor*, kTensors>
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

  ResidualSettings settings_;
  std::array<torch::autograd::SavedVariable, kTensors + 1> saved_;  // and what forward computed
};

}  // namespace evenkeel::detail
