// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/driver.hpp>
#include <evenkeel/kernels/cuda/shaped_kernel.hpp>
#include <evenkeel/kernels/detail/heads.hpp>
#include <evenkeel/kernels/detail/plain_shaped_sum.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/shaped_args.hpp>
#include <evenkeel/kernels/detail/shaped_form.hpp>

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>

namespace evenkeel::detail {

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

}  // namespace evenkeel::detail
