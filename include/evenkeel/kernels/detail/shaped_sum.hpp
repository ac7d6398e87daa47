// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/shaped_kernel.hpp>
#include <evenkeel/kernels/detail/gradients_by_operators.hpp>
#include <evenkeel/kernels/detail/plain_shaped_sum.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/shaped_form.hpp>
#include <evenkeel/kernels/detail/shaped_launch.hpp>
#include <evenkeel/kernels/fused_residual_switch.hpp>

#include <ATen/ATen.h>
#include <ATen/TensorSubclassLikeUtils.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace evenkeel::detail {

/// (beta * v, rest), where `rest` stands for alpha * v - gamma * mean(v), which `ShapedJoin` adds:
/// it has no memory of its own, but the gradient of y comes back through it. So backward has both
/// gradients at once, and writes one for v.
class ShapedValues : public torch::autograd::Function<ShapedValues> {
  using Context = torch::autograd::AutogradContext;
  using Tensors = torch::autograd::variable_list;
  using Gain = std::optional<at::Tensor>;

 public:
  static Tensors forward(Context* context,
                         const at::Tensor& v,
                         const Gain& alpha,
                         const Gain& beta,
                         const Gain& gamma,
                         const ShapedForm& form) {
    const auto defined = [](const Gain& gain) { return gain ? *gain : at::Tensor(); };
    const ShapedSum sum{v, defined(alpha), defined(beta), defined(gamma)};
    auto scaled = new_heads(v, type_of_code(form.a));
    launch_shaped(values_form(form), sum, v, {}, scaled);
    const std::array<int64_t, 4> strides{};
    const auto of_y = v.options().dtype(type_of_code(form.y)).requires_grad(false);
    context->save_for_backward({sum.v, sum.alpha, sum.beta, sum.gamma});
    context->saved_data["form"] = static_cast<int64_t>(form_key(form));
    return {scaled, at::empty_strided(v.sizes(), strides, of_y)};
  }

  static Tensors backward(Context* context, Tensors gradients) {
    const auto saved = context->get_saved_variables();
    const auto key = static_cast<uint64_t>(context->saved_data["form"].toInt());
    const auto form = form_of_key<ShapedForm>(key);
    ShapedSum sum{saved[0],
                  saved[1],
                  saved[2],
                  saved[3],
                  form.identity != 0U,
                  form.centred != 0U,
                  form.causal != 0U};
    std::array<bool, 4> wanted{};
    size_t edge = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (sum.inputs()[i]->defined()) wanted[i] = context->needs_input_grad(edge++);
    }
    Tensors results(5);
    const auto& scaled = gradients[0];
    const auto& rest = gradients[1];
    if (at::GradMode::is_enabled() || at::isTensorSubclassLike(scaled) ||
        at::isTensorSubclassLike(rest) || !by_kernel(sum, form, scaled, rest, wanted, results)) {
      through_operators(sum, form, gradients, wanted, results);
    }
    return results;
  }

 private:
  /// Returns whether there is a kernel for that; if not, a warning has said why.
  static bool by_kernel(ShapedSum& sum,
                        ShapedForm form,
                        const at::Tensor& scaled,
                        const at::Tensor& rest,
                        const std::array<bool, 4>& wanted,
                        Tensors& results) {
    const auto& v = sum.v;
    form.backward = 1;
    form.dalpha = wanted[1] && sum.identity;
    form.dbeta = wanted[2];
    form.dgamma = wanted[3] && sum.centred;
    form.rows = cuda::shaped_rows(form, v.size(2));
    if (cuda::ShapedKernel::find(form) == nullptr) return false;
    const std::array<bool, 4> made{true, form.dalpha != 0U, form.dbeta != 0U, form.dgamma != 0U};
    const auto heads = static_cast<int>(v.size(1));
    results[0] = new_heads(v, v.scalar_type());
    SumsArgs sums{};
    size_t used = 0;
    for (size_t i = 1; i < made.size(); ++i) {
      if (!made[i]) continue;
      const auto& gain = *sum.inputs()[i];
      results[i] = at::empty({heads}, gain.options().requires_grad(false));
      sums.gradients[used++] = {results[i].mutable_data_ptr(),
                                heads,
                                type_code(gain.scalar_type())};
    }
    sums.rows = static_cast<int>(v.size(0));
    sums.columns = static_cast<int>(used) * heads;
    launch_shaped(form, sum, scaled, rest, results[0], used > 0 ? &sums : nullptr);
    for (size_t i = 1; i < made.size(); ++i) {  // one number for all heads
      const auto& gain = *sum.inputs()[i];
      if (made[i] && gain.numel() != heads) results[i] = results[i].sum().view(gain.sizes());
    }
    return true;
  }

  /// The same gradients by operators that can be differentiated again.
  static void through_operators(ShapedSum& sum,
                                const ShapedForm& form,
                                const Tensors& gradients,
                                const std::array<bool, 4>& wanted,
                                Tensors& results) {
    const auto outputs = [&]() -> Tensors {
      const auto none = at::zeros_like(sum.v, sum.v.options().requires_grad(false));
      return {times_heads(sum.v, sum.beta).to(type_of_code(form.a)),
              plus_rest(none, sum).to(type_of_code(form.y))};
    };
    gradients_by_operators(
        sum.inputs(),
        [&](size_t i) { return wanted[i]; },
        outputs,
        gradients,
        results);
  }
};

/// y, of what attention made of beta * v. Its gradient is that of a and of `rest`.
class ShapedJoin : public torch::autograd::Function<ShapedJoin> {
  using Context = torch::autograd::AutogradContext;
  using Tensors = torch::autograd::variable_list;

 public:
  static at::Tensor forward(Context* context,
                            const at::Tensor& a,
                            const at::Tensor& rest,
                            const ShapedSum& sum,
                            const ShapedForm& form) {
    auto y = new_heads(a, type_of_code(form.y));
    launch_shaped(join_form(form), sum, a, {}, y);
    context->saved_data["a"] = static_cast<int64_t>(a.scalar_type());
    context->saved_data["rest"] = static_cast<int64_t>(rest.scalar_type());
    return y;
  }

  static Tensors backward(Context* context, Tensors gradients) {
    const auto dy_in = [&](const char* name) {
      const auto type = static_cast<at::ScalarType>(context->saved_data[name].toInt());
      return gradients[0].to(type);
    };
    return {dy_in("a"), dy_in("rest"), {}, {}};
  }
};

/// y, by kernels where there are some, by operators elsewhere. `attend` gives a, of that `type`,
/// for v; it is linear in v.
template <typename Attend>
at::Tensor shaped_sum(ShapedSum sum, at::ScalarType type, const Attend& attend) {
  if (fused_residual_enabled()) {
    const auto form = shaped_form(sum, type);
    if (form && cuda::ShapedKernel::find(values_form(*form)) != nullptr &&
        cuda::ShapedKernel::find(join_form(*form)) != nullptr) {
      const auto given = [](const at::Tensor& gain) {
        return gain.defined() ? std::optional<at::Tensor>(gain) : std::nullopt;
      };
      const auto values =
          ShapedValues::apply(sum.v, given(sum.alpha), given(sum.beta), given(sum.gamma), *form);
      return ShapedJoin::apply(attend(values[0]), values[1], sum, *form);
    }
  }
  return plus_rest(times_heads(attend(sum.v), sum.beta), sum);
}

}  // namespace evenkeel::detail
