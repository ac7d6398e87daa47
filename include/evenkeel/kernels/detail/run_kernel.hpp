// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cpu/launch.hpp>
#include <evenkeel/kernels/cuda/launch.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>

namespace evenkeel::detail {

/// Finds the kernel for the call's form. Returns whether there is one; if not on CUDA, a warning
/// has said why.
inline bool find_kernel(ResidualCall& call) {
  if (call.terms.x.is_cuda()) {
    call.cuda = cuda::Kernel::find(call.form);
  } else if (!cpu::kernels().empty()) {
    call.cpu = &cpu::kernels().front();
  }
  return call.cuda != nullptr || call.cpu != nullptr;
}

/// Runs the kernel that was found. `saved`, where given, becomes what backward needs.
inline JoinedResidual run_forward(ResidualCall& call, at::Tensor* saved) {
  const auto& form = call.form;
  const auto& x = call.terms.x;
  const cuda::OnDevice on_device(x.device());
  at::Tensor for_backward;
  if (saved != nullptr && (form.has_norm() || form.drops != 0U)) {
    const int64_t stats = form.has_norm() ? kSavedStats * call.rows() : 0;
    *saved = for_backward = new_tensor(x, {kSavedRandom + stats}, at::kFloat);
  }
  auto args = args_of(call, for_backward);
  JoinedResidual outputs;
  if (form.has_norm()) {
    outputs.y = new_tensor(x, x.sizes(), type_of_code(form.y));
    args.y = outputs.y.mutable_data_ptr();
  }
  if (form.has_sum != 0U) {
    outputs.sum = new_tensor(x, x.sizes(), type_of_code(form.sum));
    args.sum = outputs.sum.mutable_data_ptr();
  }
  if (call.cuda != nullptr) {
    cuda::forward(call, args);
  } else {
    cpu::forward(call, args);
  }
  return outputs;
}

/// Runs the backward kernel and the sums that end it. The call's form says which gradients are
/// wanted; dy and dsum are what comes in, either of them undefined where it is zero.
/// `inputs_stayed`: x and f_x are where forward read them, so no work under way writes them.
inline ResidualGradients run_backward(ResidualCall& call,
                                      const at::Tensor& dy,
                                      const at::Tensor& dsum,
                                      const at::Tensor& saved,
                                      bool inputs_stayed) {
  const auto& form = call.form;
  const cuda::OnDevice on_device(call.terms.x.device());
  auto args = args_of(call, saved);
  args.inputs_stayed = inputs_stayed ? 1 : 0;
  if (dy.defined()) args.dy = dy.const_data_ptr();
  if (dsum.defined()) args.dsum = dsum.const_data_ptr();
  ResidualGradients gradients;
  const auto inputs = call.inputs();
  for (const int i : {kX, kFX}) {
    if (!form.wants(i)) continue;
    const auto& input = *inputs[static_cast<size_t>(i)];
    auto& gradient = gradients[static_cast<size_t>(i)];
    gradient = new_tensor(input, input.sizes(), input.scalar_type());
    (i == kX ? args.dx : args.df_x) = gradient.mutable_data_ptr();
  }
  if (call.cuda != nullptr) {
    cuda::backward(call, args, gradients);
  } else {
    cpu::backward(call, args, gradients);
  }
  return gradients;
}

}  // namespace evenkeel::detail
