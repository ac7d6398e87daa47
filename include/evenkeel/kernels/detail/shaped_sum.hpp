// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/shaped_kernel.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/shaped_args.hpp>
#include <evenkeel/kernels/detail/shaped_form.hpp>
#include <evenkeel/kernels/fused_residual_switch.hpp>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace evenkeel::detail {

/// Shaped attention beside its softmax: y = beta * a + alpha * v - gamma * mean(v), where a is the
/// softmax's average of the values v. Shapes: v, a and y are (B, num_heads, T, head_dim), gains
/// (num_heads) or (1), undefined for 1.
struct ShapedSum {
  at::Tensor v;
  at::Tensor alpha;
  at::Tensor beta;
  at::Tensor gamma;
  bool identity = true;  ///< Whether there is alpha * v.
  bool centred = true;   ///< Whether there is -gamma * mean(v).
  bool causal = true;    ///< Whether the mean is over the positions up to each, or over all.

  /// In the order in which gradients are listed.
  std::array<at::Tensor*, 4> inputs() { return {&v, &alpha, &beta, &gamma}; }
};

/// x (B, num_heads, ...) with the gain of each head.
inline at::Tensor times_heads(const at::Tensor& x, const at::Tensor& gain) {
  return gain.defined() ? x * gain.to(x.scalar_type()).view({1, -1, 1, 1}) : x;
}

/// y + sign * gain * x, for the gain of each head, in one pass over the three.
inline at::Tensor plus_heads(const at::Tensor& y,
                             const at::Tensor& x,
                             const at::Tensor& gain,
                             double sign = 1.0) {
  if (!gain.defined()) return at::add(y, x, sign);
  return at::addcmul(y, x, gain.to(x.scalar_type()).view({1, -1, 1, 1}), sign);
}

/// y + alpha * v - gamma * mean(v), by operators.
inline at::Tensor plus_rest(at::Tensor y, const ShapedSum& sum) {
  if (sum.centred) {
    const auto type = sum.v.scalar_type();
    const auto values = type == at::kDouble ? sum.v : sum.v.to(at::kFloat);
    const auto counts = at::arange(1, sum.v.size(2) + 1, values.options()).view({1, 1, -1, 1});
    const auto mean = sum.causal ? values.cumsum(2) / counts : values.mean(2, /*keepdim=*/true);
    y = plus_heads(y, mean.to(type), sum.gamma, -1.0);
  }
  return sum.identity ? plus_heads(y, sum.v, sum.alpha) : y;
}

/// As the kernels read it: of that type, columns side by side, rows aligned for their loads.
inline at::Tensor heads_ready(const at::Tensor& tensor, at::ScalarType type) {
  auto ready = tensor;
  if (ready._is_zerotensor()) ready = at::zeros(ready.sizes(), ready.options());
  if (ready.scalar_type() != type) ready = ready.to(type);
  if (ready.is_neg()) ready = ready.resolve_neg();
  const auto bytes = static_cast<int64_t>(ready.element_size());
  bool is_ready = ready.stride(3) == 1 && ready.size(3) * bytes % 16 == 0 &&
                  reinterpret_cast<uintptr_t>(ready.const_data_ptr()) % 16 == 0;
  for (int64_t i = 0; i < 3; ++i) is_ready = is_ready && ready.stride(i) * bytes % 16 == 0;
  return is_ready ? ready : ready.clone(at::MemoryFormat::Contiguous);
}

inline HeadStrides strides_of(const at::Tensor& tensor) {
  return {tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

/// Memory for a tensor of that one's shape, in which the heads of a position are side by side.
inline at::Tensor new_heads(const at::Tensor& like, at::ScalarType type) {
  return at::empty({like.size(0), like.size(2), like.size(1), like.size(3)},
                   like.options().dtype(type).requires_grad(false))
      .transpose(1, 2);
}

/// The kernels' form of a sum, if there are kernels for it. `type`: of a.
inline std::optional<ShapedForm> shaped_form(ShapedSum& sum, at::ScalarType type) {
  constexpr int64_t kMostColumns = 256;
  const auto& v = sum.v;
  if (!v.is_cuda() || v.dim() != 4 || v.numel() == 0 || v.size(3) > kMostColumns) return {};
  if (type_code(type) < 0) return {};
  const auto code = [](at::ScalarType of) { return static_cast<uint64_t>(type_code(of)); };
  std::optional<at::ScalarType> of_gains;
  for (const auto* tensor : sum.inputs()) {
    if (!tensor->defined()) continue;
    if (!kernels_know(*tensor, v.device())) return {};
    if (tensor == &sum.v) continue;
    if (of_gains && *of_gains != tensor->scalar_type()) return {};
    of_gains = tensor->scalar_type();
  }
  const auto count = [](const at::Tensor& gain) -> uint64_t {
    return !gain.defined() ? 0 : gain.numel() == 1 ? 1 : 2;
  };
  ShapedForm form{};
  form.dim = static_cast<uint64_t>(v.size(3));
  form.a = code(type);
  form.v = code(v.scalar_type());
  form.y = code(c10::promoteTypes(type, v.scalar_type()));
  form.gain = of_gains ? code(*of_gains) : 0;
  form.alpha_count = count(sum.alpha);
  form.beta_count = count(sum.beta);
  form.gamma_count = count(sum.gamma);
  form.identity = sum.identity;
  form.centred = sum.centred;
  form.causal = sum.causal;
  form.device = static_cast<uint64_t>(static_cast<int>(v.get_device()));
  form.rows = cuda::shaped_rows(form, v.size(2));
  return form;
}

/// What makes beta * v of the type of a.
inline ShapedForm values_form(ShapedForm form) {
  const auto type = form.a;
  form.a = form.v;
  form.y = type;
  form.alpha_count = form.gamma_count = 0;
  form.identity = form.centred = form.causal = 0;
  return form;
}

/// What makes y of a, where beta is in a.
inline ShapedForm join_form(ShapedForm form) {
  form.beta_count = 0;
  return form;
}

/// Launches the kernel of that form: to `y`, of `a`, and of the sum's v and gains.
inline void launch_shaped(const ShapedForm& form,
                          const ShapedSum& sum,
                          const at::Tensor& a,
                          const at::Tensor& dy,
                          at::Tensor& y,
                          SumsArgs* sums = nullptr) {
  const auto& v = sum.v;
  const cuda::OnDevice on_device(v.device());
  const auto address = [](const at::Tensor& gain) {
    return gain.defined() ? gain.const_data_ptr() : nullptr;
  };
  const auto a_ready = heads_ready(a, type_of_code(form.a));
  const auto v_ready = heads_ready(v, v.scalar_type());
  const auto dy_ready = dy.defined() ? heads_ready(dy, type_of_code(form.y)) : dy;
  ShapedArgs args{};
  args.a = a_ready.const_data_ptr();
  args.of_a = strides_of(a_ready);
  args.v = v_ready.const_data_ptr();
  args.of_v = strides_of(v_ready);
  if (dy.defined()) {
    args.dy = dy_ready.const_data_ptr();
    args.of_dy = strides_of(dy_ready);
  }
  args.y = y.mutable_data_ptr();
  args.of_y = strides_of(y);
  args.alpha = address(sum.alpha);
  args.beta = address(sum.beta);
  args.gamma = address(sum.gamma);
  args.heads = static_cast<int>(v.size(1));
  args.length = static_cast<int>(v.size(2));
  at::Tensor rows_of_sums;
  if (sums != nullptr) {
    rows_of_sums = at::empty({sums->rows, sums->columns}, v.options().dtype(at::kFloat));
    args.sums = rows_of_sums.mutable_data_ptr<float>();
    sums->sums = args.sums;
  }
  const auto& kernel = *cuda::ShapedKernel::find(form);
  kernel.driver().make_context_current(v.get_device());
  auto* const stream = kernel.driver().current_stream(v.device());
  kernel.launch(stream, args, v.size(0));
  if (sums != nullptr) kernel.launch_sums(stream, *sums);
}

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
    context->saved_data["form"] = static_cast<int64_t>(form.key());
    return {scaled, at::empty_strided(v.sizes(), strides, of_y)};
  }

  static Tensors backward(Context* context, Tensors gradients) {
    const auto saved = context->get_saved_variables();
    const auto key = static_cast<uint64_t>(context->saved_data["form"].toInt());
    const auto form = ShapedForm::of_key(key);
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
    const bool differentiate_again = at::GradMode::is_enabled();
    const at::AutoGradMode grad_mode(true);
    // Aliases, since one tensor may stand in two places and each has a gradient of its own.
    Tensors inputs;
    for (size_t i = 0; i < wanted.size(); ++i) {
      auto& tensor = *sum.inputs()[i];
      if (tensor.defined()) tensor = tensor.view_as(tensor);
      if (wanted[i]) inputs.push_back(tensor);
    }
    const auto none = at::zeros_like(sum.v, sum.v.options().requires_grad(false));
    const Tensors outputs{times_heads(sum.v, sum.beta).to(type_of_code(form.a)),
                          plus_rest(none, sum).to(type_of_code(form.y))};
    Tensors roots;
    Tensors root_gradients;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!outputs[i].requires_grad()) continue;
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
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (!wanted[i]) continue;
      auto gradient = computed[next++];
      if (!differentiate_again && gradient.defined()) gradient = gradient.detach();
      results[i] = std::move(gradient);
    }
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
