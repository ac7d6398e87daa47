// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/bias_kernel.hpp>
#include <evenkeel/kernels/detail/bias_args.hpp>
#include <evenkeel/kernels/detail/bias_form.hpp>
#include <evenkeel/kernels/detail/gradients_by_operators.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/fused_residual_switch.hpp>

#include <ATen/ATen.h>
#include <ATen/TensorSubclassLikeUtils.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace evenkeel::detail {

inline at::Tensor linear_by_operators(const at::Tensor& x,
                                      const at::Tensor& weight,
                                      const at::Tensor& bias,
                                      bool relu) {
  const auto y = at::linear(x, weight, bias);
  return relu ? at::relu(y) : y;
}

/// x W^T + b, with a ReLU behind it or none, whose backward has the gradient of the bias, and that
/// ahead of the ReLU, by one kernel.
class BiasedLinear : public torch::autograd::Function<BiasedLinear> {
  using Context = torch::autograd::AutogradContext;
  using Tensors = torch::autograd::variable_list;

 public:
  static at::Tensor forward(Context* context,
                            const at::Tensor& x,
                            const at::Tensor& weight,
                            const at::Tensor& bias,
                            bool relu) {
    const auto rows = x.reshape({-1, x.size(-1)});
    auto y =
        relu ? at::_addmm_activation(bias, rows, weight.t()) : at::addmm(bias, rows, weight.t());
    auto sizes = x.sizes().vec();
    sizes.back() = weight.size(0);
    y = y.view(sizes);
    context->save_for_backward({x, weight, bias, relu ? y : at::Tensor()});
    context->saved_data["relu"] = relu;
    return y;
  }

  static Tensors backward(Context* context, Tensors gradients) {
    const auto saved = context->get_saved_variables();
    auto x = saved[0];
    auto weight = saved[1];
    auto bias = saved[2];
    const bool relu = context->saved_data["relu"].toBool();
    Tensors results(4);
    const auto& dy = gradients[0];
    if (!dy.defined()) return results;
    const auto wanted = [&](size_t i) { return context->needs_input_grad(i); };
    if (at::GradMode::is_enabled() || at::isTensorSubclassLike(dy) ||
        dy.scalar_type() != weight.scalar_type()) {
      const std::array<at::Tensor*, 3> inputs{&x, &weight, &bias};
      const auto compute = [&]() -> Tensors {
        return {linear_by_operators(x, weight, bias, relu)};
      };
      gradients_by_operators(inputs, wanted, compute, gradients, results);
      return results;
    }
    const auto of_rows = [](const at::Tensor& tensor) {
      return kernel_ready(tensor, tensor.scalar_type()).view({-1, tensor.size(-1)});
    };
    auto dz = of_rows(dy);
    if (relu || wanted(2)) dz = by_kernel(dz, saved[3], bias, relu, results[2]);
    if (wanted(0)) results[0] = dz.mm(weight).view(x.sizes());
    if (wanted(1)) results[1] = dz.t().mm(x.reshape({-1, x.size(-1)}));
    return results;
  }

  static BiasForm form_of(const at::Tensor& bias, bool relu) {
    BiasForm form{};
    form.dim = static_cast<uint64_t>(bias.size(0));
    form.type = static_cast<uint64_t>(type_code(bias.scalar_type()));
    form.relu = relu;
    form.device = static_cast<uint64_t>(static_cast<int>(bias.get_device()));
    return form;
  }

 private:
  // dz, and the gradient of the bias.
  static at::Tensor by_kernel(const at::Tensor& dy,
                              const at::Tensor& y,
                              const at::Tensor& bias,
                              bool relu,
                              at::Tensor& dbias) {
    const cuda::OnDevice on_device(dy.device());
    const auto& kernel = *cuda::BiasKernel::find(form_of(bias, relu));
    const auto rows = dy.size(0);
    const auto columns = dy.size(1);
    const auto sums = at::empty({kernel.blocks(rows), columns}, dy.options().dtype(at::kFloat));
    auto dz = relu ? at::empty_like(dy) : dy;
    dbias = at::empty({columns}, bias.options().requires_grad(false));
    BiasArgs args{};
    args.dy = dy.const_data_ptr();
    args.y = relu ? y.const_data_ptr() : nullptr;
    args.dz = relu ? dz.mutable_data_ptr() : nullptr;
    args.sums = sums.mutable_data_ptr<float>();
    args.rows = rows;
    SumsArgs sums_args{};
    sums_args.gradients[0] = {dbias.mutable_data_ptr(),
                              static_cast<int>(columns),
                              type_code(bias.scalar_type())};
    sums_args.sums = args.sums;
    sums_args.rows = static_cast<int>(sums.size(0));
    sums_args.columns = static_cast<int>(columns);
    kernel.driver().make_context_current(dy.get_device());
    kernel.launch(kernel.driver().current_stream(dy.device()), args, sums_args);
    return dz;
  }
};

/// x W^T + b, with a ReLU behind it or none. On a GPU, where x, W and b are of one half type,
/// training has kernels of its own for the gradients.
inline at::Tensor biased_linear(const at::Tensor& x,
                                const at::Tensor& weight,
                                const at::Tensor& bias,
                                bool relu = false) {
  const auto type = weight.scalar_type();
  const bool own = bias.defined() && x.is_cuda() && at::GradMode::is_enabled() &&
                   bias.requires_grad() && (type == at::kBFloat16 || type == at::kHalf) &&
                   x.scalar_type() == type && bias.scalar_type() == type && x.numel() > 0 &&
                   weight.size(0) % 8 == 0 && weight.size(0) <= 8192 &&
                   kernels_know(x, x.device()) && kernels_know(weight, x.device()) &&
                   kernels_know(bias, x.device()) &&
                   !at::autocast::is_autocast_enabled(at::kCUDA) && fused_residual_enabled() &&
                   cuda::BiasKernel::find(BiasedLinear::form_of(bias, relu)) != nullptr;
  return own ? BiasedLinear::apply(x, weight, bias, relu)
             : linear_by_operators(x, weight, bias, relu);
}

}  // namespace evenkeel::detail
