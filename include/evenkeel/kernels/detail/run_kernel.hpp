// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cpu/launch.hpp>
#include <evenkeel/kernels/cuda/launch.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>

#include <ATen/core/Tensor.h>

namespace evenkeel::detail {

/// Finds the kernel for the call's form. Returns whether there is one; if not, a warning has said
/// why.
inline bool find_kernel(ResidualCall& call) {
  if (call.terms.x.is_cpu()) return true;
  call.kernel = cuda::Kernel::find(call.form);
  return call.kernel != nullptr;
}

/// Runs the kernel that was found. `saved`, where given, becomes what backward needs.
inline JoinedResidual run_forward(ResidualCall& call, at::Tensor* saved) {
  if (call.terms.x.is_cpu()) return cpu::forward(cpu::kernels().front(), call, saved);
  return cuda::forward(call, saved);
}

inline ResidualGradients run_backward(ResidualCall& call,
                                      const at::Tensor& dy,
                                      const at::Tensor& dsum,
                                      const at::Tensor& saved,
                                      bool inputs_stayed) {
  if (call.terms.x.is_cpu()) return cpu::backward(cpu::kernels().front(), call, dy, dsum, saved);
  return cuda::backward(call, dy, dsum, saved, inputs_stayed);
}

}  // namespace evenkeel::detail
