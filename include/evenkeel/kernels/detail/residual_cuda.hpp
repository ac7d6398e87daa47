// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/philox.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/residual_kernel.hpp>

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/Allocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/DispatchKeySet.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdint>

namespace evenkeel::detail {

inline const void* address(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}

inline void* output_address(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr() : nullptr;
}

inline JoinedArgs joined_args(const ResidualCall& call) {
  JoinedArgs in{};
  in.x = address(call.x);
  in.f = address(call.f);
  in.w = address(call.w);
  in.beta = address(call.beta);
  in.a = address(call.a);
  in.b = address(call.b);
  in.c = address(call.c);
  in.rows = call.rows();
  in.threshold = call.settings.threshold;
  in.scale = call.settings.kept_scale();
  in.eps = call.settings.eps;
  return in;
}

inline CudaDriver::Handle current_stream(const CudaDriver& driver, c10::Device device) {
  const c10::impl::VirtualGuardImpl guard(c10::DeviceType::CUDA);
  const auto stream = guard.getStream(device);
  return driver.cuda_stream(&stream);
}

/// Memory for an output on the current device, without the ways through LibTorch's dispatcher that
/// at::empty takes.
inline c10::Allocator* cuda_allocator() {
  return at::detail::getCUDAHooks().getCUDADeviceAllocator();
}

inline at::Tensor empty_cuda(at::IntArrayRef sizes, at::ScalarType type) {
  const c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  at::Tensor tensor(at::detail::empty_generic(sizes, cuda_allocator(), keys, type, {}));
  return tensor;
}

/// Runs the forward kernel. `save` what backward needs.
inline ResidualOutputs cuda_residual_forward(const ResidualKernel& kernel,
                                             const ResidualCall& call,
                                             bool save) {
  const c10::OptionalDeviceGuard guard(call.x.device());
  const auto& driver = kernel.driver();
  driver.make_context_current(call.x.get_device());
  ResidualOutputs outputs;
  const auto& settings = call.settings;
  const auto output = [&](uint32_t type) { return empty_cuda(call.x.sizes(), type_of_code(type)); };
  if (settings.has_norm()) outputs.y = output(settings.y);
  if (settings.has_sum()) outputs.sum = output(settings.sum);
  ForwardArgs args{};
  args.in = joined_args(call);
  args.y = output_address(outputs.y);
  args.sum = output_address(outputs.sum);
  if (save && (settings.has_norm() || settings.drops())) {
    const int64_t stats = settings.has_norm() ? 2 * args.in.rows : 0;
    outputs.saved = empty_cuda({kSavedRandom + stats}, at::kFloat);
    auto* saved = static_cast<float*>(outputs.saved.mutable_data_ptr());
    args.in.random = settings.drops() ? saved : nullptr;
    args.stats = settings.has_norm() ? saved + kSavedRandom : nullptr;
  }
  PhiloxDraw draw;
  if (settings.drops()) {
    draw = draw_philox(driver, call.x.device());
    args.in.seed = draw.seed;
    args.in.offset = draw.offset;
    args.in.offset_in_graph = draw.offset_in_graph;
    args.in.captured = draw.captured ? 1 : 0;
  }
  kernel.launch(current_stream(driver, call.x.device()), args);
  return outputs;
}

/// Runs the backward kernel and the sums that end it. `config` says which gradients are wanted; dy
/// and dsum are what comes in, either of them undefined where it is zero.
inline ResidualGradients cuda_residual_backward(const ResidualKernel& kernel,
                                                const ResidualConfig& config,
                                                const ResidualCall& call,
                                                const at::Tensor& dy,
                                                const at::Tensor& dsum,
                                                const at::Tensor& saved) {
  const c10::OptionalDeviceGuard guard(call.x.device());
  const auto& driver = kernel.driver();
  driver.make_context_current(call.x.get_device());
  ResidualGradients gradients;
  if (config.dx != 0U) gradients.x = empty_cuda(call.x.sizes(), call.x.scalar_type());
  if (config.df != 0U) gradients.f = empty_cuda(call.f.sizes(), call.f.scalar_type());

  SumsArgs sums{};
  size_t used = 0;
  const auto wanted = [&](bool want, const at::Tensor& parameter, at::Tensor& gradient) {
    if (!want) return;
    gradient = empty_cuda(parameter.sizes(), parameter.scalar_type());
    sums.out[used++] = {gradient.mutable_data_ptr(),
                        static_cast<int32_t>(parameter.numel()),
                        type_code(parameter.scalar_type())};
  };
  wanted(config.dw != 0U, call.w, gradients.w);
  wanted(config.dbeta != 0U, call.beta, gradients.beta);
  wanted(config.da != 0U && config.gain_a == 2, call.a, gradients.a);
  wanted(config.db != 0U && config.gain_b == 2, call.b, gradients.b);
  wanted(config.dc != 0U, call.c, gradients.c);
  wanted(config.da != 0U && config.gain_a == 1, call.a, gradients.a);
  wanted(config.db != 0U && config.gain_b == 1, call.b, gradients.b);

  BackwardArgs args{};
  args.in = joined_args(call);
  args.dy = address(dy);
  args.dsum = address(dsum);
  if (saved.defined()) {
    auto* values = static_cast<float*>(saved.mutable_data_ptr());
    args.in.random = values;
    args.stats = values + kSavedRandom;
  }
  args.dx = output_address(gradients.x);
  args.df = output_address(gradients.f);
  args.inputs_stayed = call.settings.inputs_stayed;
  at::DataPtr partial;
  if (used > 0) {
    sums.rows = static_cast<int32_t>(kernel.blocks(args.in.rows));
    sums.columns = static_cast<int32_t>(config.partial_row());
    partial = cuda_allocator()->allocate(sizeof(float) * sums.rows * sums.columns);
    args.partial = partial.get();
    sums.partial = args.partial;
  }
  const auto stream = current_stream(driver, call.x.device());
  kernel.launch(stream, args);
  if (used > 0) kernel.launch_sums(stream, sums);
  return gradients;
}

}  // namespace evenkeel::detail
