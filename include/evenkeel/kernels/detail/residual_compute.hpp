// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/cpu_kernels.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/residual_config.hpp>
#include <evenkeel/kernels/detail/residual_cpu.hpp>
#include <evenkeel/kernels/detail/residual_cuda.hpp>
#include <evenkeel/kernels/detail/residual_kernel.hpp>

#include <ATen/ATen.h>

#include <optional>

namespace evenkeel::detail {

/// Is there a kernel for that call? Where one cannot be compiled, a warning has said why.
inline bool has_kernel(const ResidualCall& call) {
  return call.x.is_cpu() || ResidualKernel::find(config_of(call)) != nullptr;
}

/// By the kernel of the call's device, which there is.
inline ResidualOutputs residual_forward(const ResidualCall& call, bool save) {
  if (call.x.is_cpu()) return cpu_residual_forward(cpu_kernels().front(), call, save);
  return cuda_residual_forward(*ResidualKernel::find(config_of(call)), call, save);
}

/// By the kernel of the call's device; nothing where there is none for that backward.
inline std::optional<ResidualGradients> residual_backward(const ResidualConfig& config,
                                                          const ResidualCall& call,
                                                          const at::Tensor& dy,
                                                          const at::Tensor& dsum,
                                                          const at::Tensor& saved) {
  if (call.x.is_cpu()) {
    return cpu_residual_backward(cpu_kernels().front(), config, call, dy, dsum, saved);
  }
  const auto* kernel = ResidualKernel::find(config);
  if (kernel == nullptr) return std::nullopt;
  return cuda_residual_backward(*kernel, config, call, dy, dsum, saved);
}

}  // namespace evenkeel::detail
