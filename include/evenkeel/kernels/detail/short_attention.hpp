// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/attention_kernel.hpp>
#include <evenkeel/kernels/detail/attention_args.hpp>
#include <evenkeel/kernels/detail/attention_form.hpp>
#include <evenkeel/kernels/detail/gradients_by_operators.hpp>
#include <evenkeel/kernels/detail/heads.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/fused_residual_switch.hpp>

#include <ATen/ATen.h>
#include <ATen/TensorSubclassLikeUtils.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>

namespace evenkeel::detail {

/// softmax(q k^T / sqrt(head_dim) + mask) v of short sequences. Shapes: q (B, heads, T, head_dim),
/// k and v (B, heads, S, head_dim), `mask` (B or 1, 1, 1, S) or undefined. If `causal`, query t
/// sees the keys up to S - T + t. A query that sees no key gives 0.
struct ShortAttention {
  at::Tensor q, k, v, mask;
  bool causal = false;

  std::array<at::Tensor*, 3> inputs() { return {&q, &k, &v}; }
};

/// The kernels' form, if there are kernels for it.
inline std::optional<AttentionForm> attention_form(const ShortAttention& of) {
  using cuda::AttentionKernel;
  const auto& q = of.q;
  const auto type = type_code(q.scalar_type());
  if (!q.is_cuda() || q.dim() != 4 || q.numel() == 0 || type < 1) return {};
  const auto dim = q.size(3);
  const auto keys = of.k.size(2);
  if (dim % 16 != 0 || dim > 128 || keys == 0) return {};
  if (q.size(2) > AttentionKernel::kMostQueries || keys > AttentionKernel::kMostKeys) return {};
  if (of.causal && q.size(2) > keys) return {};
  if (of.k.sizes() != of.v.sizes() || of.k.size(0) != q.size(0) || of.k.size(1) != q.size(1) ||
      of.k.size(3) != dim) {
    return {};
  }
  for (const auto* tensor : {&of.q, &of.k, &of.v}) {
    if (!kernels_know(*tensor, q.device()) || tensor->scalar_type() != q.scalar_type()) return {};
  }
  AttentionForm form{};
  const auto& mask = of.mask;
  if (mask.defined()) {
    if (!kernels_know(mask, q.device()) || mask.requires_grad() || mask.dim() != 4 ||
        mask.size(1) != 1 || mask.size(2) != 1 || mask.size(3) != keys || mask.stride(3) != 1) {
      return {};
    }
    form.mask = static_cast<uint64_t>(type_code(mask.scalar_type())) + 1;
  }
  form.dim = static_cast<uint64_t>(dim);
  form.type = static_cast<uint64_t>(type);
  form.causal = of.causal;
  while (form.most_keys() < keys) ++form.keys;
  form.device = static_cast<uint64_t>(static_cast<int>(q.get_device()));
  return form;
}

/// Whether the kernels can be had, and a multiprocessor has the memory for a head; that of backward
/// only where there will be one.
inline bool has_attention_kernels(AttentionForm form, const ShortAttention& of) {
  const auto has = [&](uint64_t backward) {
    form.backward = backward;
    const auto* kernel = cuda::AttentionKernel::find(form);
    return kernel != nullptr && kernel->fits(of.q.size(2), of.k.size(2));
  };
  const bool differentiates =
      at::GradMode::is_enabled() &&
      (of.q.requires_grad() || of.k.requires_grad() || of.v.requires_grad());
  return has(0) && (!differentiates || has(1));
}

inline AttentionArgs args_of(const ShortAttention& of) {
  AttentionArgs args{};
  args.q = of.q.const_data_ptr();
  args.of_q = strides_of(of.q);
  args.k = of.k.const_data_ptr();
  args.of_k = strides_of(of.k);
  args.v = of.v.const_data_ptr();
  args.of_v = strides_of(of.v);
  if (of.mask.defined()) {
    args.mask = of.mask.const_data_ptr();
    args.of_mask = of.mask.size(0) == 1 ? 0 : of.mask.stride(0);
  }
  args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(of.q.size(3))));
  args.heads = static_cast<int>(of.q.size(1));
  args.queries = static_cast<int>(of.q.size(2));
  args.keys = static_cast<int>(of.k.size(2));
  return args;
}

inline void launch_attention(const AttentionForm& form, const at::Tensor& q, AttentionArgs& args) {
  const cuda::OnDevice on_device(q.device());
  const auto& kernel = *cuda::AttentionKernel::find(form);
  kernel.driver().make_context_current(q.get_device());
  kernel.launch(kernel.driver().current_stream(q.device()), args, q.size(0));
}

/// The same by operators.
inline at::Tensor attention_by_operators(const ShortAttention& of) {
  const auto scale = 1.0 / std::sqrt(static_cast<double>(of.q.size(3)));
  auto scores = of.q.matmul(of.k.transpose(2, 3)).to(at::kFloat) * scale;
  if (of.mask.defined()) scores = scores + of.mask;
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  if (of.causal) {
    const auto queries = of.q.size(2);
    const auto keys = of.k.size(2);
    const auto all = at::ones({queries, keys}, of.q.options().dtype(at::kBool));
    scores = scores.masked_fill(all.triu(keys - queries + 1), kNever);
  }
  const auto blind = scores.eq(kNever).all(-1, /*keepdim=*/true);
  const auto weights = scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0);
  return weights.to(of.v.scalar_type()).matmul(of.v);
}

class ShortAttentionFunction : public torch::autograd::Function<ShortAttentionFunction> {
  using Context = torch::autograd::AutogradContext;
  using Tensors = torch::autograd::variable_list;

 public:
  static at::Tensor forward(Context* context,
                            const at::Tensor& q,
                            const at::Tensor& k,
                            const at::Tensor& v,
                            const std::optional<at::Tensor>& mask,
                            const AttentionForm& form) {
    const ShortAttention of{heads_ready(q, q.scalar_type()),
                            heads_ready(k, k.scalar_type()),
                            heads_ready(v, v.scalar_type()),
                            mask ? *mask : at::Tensor(),
                            form.causal != 0U};
    auto y = new_heads(q, q.scalar_type());
    auto args = args_of(of);
    args.y = y.mutable_data_ptr();
    args.of_y = strides_of(y);
    launch_attention(form, q, args);
    context->save_for_backward({q, k, v, of.mask});
    context->saved_data["form"] = static_cast<int64_t>(form_key(form));
    return y;
  }

  static Tensors backward(Context* context, Tensors gradients) {
    const auto saved = context->get_saved_variables();
    auto form =
        form_of_key<AttentionForm>(static_cast<uint64_t>(context->saved_data["form"].toInt()));
    ShortAttention of{saved[0], saved[1], saved[2], saved[3], form.causal != 0U};
    Tensors results(5);
    const auto& dy = gradients[0];
    if (!dy.defined()) return results;
    if (at::GradMode::is_enabled() || at::isTensorSubclassLike(dy)) {
      const auto wanted = [&](size_t i) { return context->needs_input_grad(i); };
      const auto compute = [&]() -> Tensors { return {attention_by_operators(of)}; };
      gradients_by_operators(of.inputs(), wanted, compute, gradients, results);
      return results;
    }
    for (auto* tensor : of.inputs()) *tensor = heads_ready(*tensor, tensor->scalar_type());
    const auto type = of.q.scalar_type();
    const auto dy_ready = heads_ready(dy, type);
    auto args = args_of(of);
    args.dy = dy_ready.const_data_ptr();
    args.of_dy = strides_of(dy_ready);
    for (size_t i = 0; i < 3; ++i) results[i] = new_heads(*of.inputs()[i], type);
    args.dq = results[0].mutable_data_ptr();
    args.of_dq = strides_of(results[0]);
    args.dk = results[1].mutable_data_ptr();
    args.of_dk = strides_of(results[1]);
    args.dv = results[2].mutable_data_ptr();
    args.of_dv = strides_of(results[2]);
    form.backward = 1;
    launch_attention(form, of.q, args);
    return results;
  }
};

/// The attention, where there are kernels for it; otherwise undefined.
inline at::Tensor short_attention(const ShortAttention& of) {
  if (!fused_residual_enabled()) return {};
  const auto form = attention_form(of);
  if (!form || !has_attention_kernels(*form, of)) return {};
  const auto mask = of.mask.defined() ? std::optional<at::Tensor>(of.mask) : std::nullopt;
  return ShortAttentionFunction::apply(of.q, of.k, of.v, mask, *form);
}

}  // namespace evenkeel::detail
