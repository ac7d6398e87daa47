// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/kernel.hpp>
#include <evenkeel/kernels/cuda/philox.hpp>
#include <evenkeel/kernels/cuda/tuning.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/Allocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/DispatchKeySet.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstddef>
#include <cstdint>

namespace evenkeel::detail::cuda {

inline Driver::Handle current_stream(const Driver& driver, c10::Device device) {
  const c10::impl::VirtualGuardImpl guard(c10::DeviceType::CUDA);
  const auto stream = guard.getStream(device);
  return driver.cuda_stream(&stream);
}

/// Memory for an output on the current device, without the ways through LibTorch's dispatcher that
/// at::empty takes.
inline c10::Allocator* allocator() {
  return at::detail::getCUDAHooks().getCUDADeviceAllocator();
}

inline at::Tensor empty(at::IntArrayRef sizes, at::ScalarType type) {
  const c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  return at::Tensor(at::detail::empty_generic(sizes, allocator(), keys, type, {}));
}

/// Runs the forward kernel. `saved`, where given, becomes what backward needs.
inline JoinedResidual forward(const ResidualCall& call, at::Tensor* saved) {
  const auto device = call.terms.x.device();
  const c10::OptionalDeviceGuard guard(device);
  const auto& driver = call.kernel->driver();
  driver.make_context_current(device.index());
  const auto& form = call.form;
  auto args = args_of(call);
  JoinedResidual outputs;
  const auto output = [&](uint64_t type, void*& address) {
    auto tensor = empty(call.terms.x.sizes(), type_of_code(type));
    address = tensor.mutable_data_ptr();
    return tensor;
  };
  if (form.has_norm()) outputs.y = output(form.y, args.y);
  if (form.has_sum != 0U) outputs.sum = output(form.sum, args.sum);
  if (saved != nullptr && (form.has_norm() || form.drops != 0U)) {
    const int64_t stats = form.has_norm() ? 2 * args.rows : 0;
    *saved = empty({kSavedRandom + stats}, at::kFloat);
    auto* const numbers = static_cast<float*>(saved->mutable_data_ptr());
    if (form.drops != 0U) args.random = reinterpret_cast<unsigned long long*>(numbers);
    if (form.has_norm()) args.stats = numbers + kSavedRandom;
  }
  PhiloxDraw draw;
  if (form.drops != 0U) {
    draw = draw_philox(driver, device);
    args.seed = draw.seed;
    args.offset = draw.offset;
    args.offset_in_graph = draw.offset_in_graph;
    args.captured = draw.captured ? 1 : 0;
  }
  call.kernel->launch(current_stream(driver, device), args);
  return outputs;
}

/// Runs the backward kernel and the sums that end it. The call's form says which gradients are
/// wanted; dy and dsum are what comes in, either of them undefined where it is zero.
/// `inputs_stayed`: x and f_x are where forward read them, so no work under way writes them.
inline ResidualGradients backward(ResidualCall& call,
                                  const at::Tensor& dy,
                                  const at::Tensor& dsum,
                                  const at::Tensor& saved,
                                  bool inputs_stayed) {
  const auto device = call.terms.x.device();
  const c10::OptionalDeviceGuard guard(device);
  const auto& kernel = *call.kernel;
  const auto& driver = kernel.driver();
  driver.make_context_current(device.index());
  const auto& form = call.form;
  const auto inputs = call.inputs();
  auto args = args_of(call);
  args.inputs_stayed = inputs_stayed ? 1 : 0;
  if (dy.defined()) args.dy = dy.const_data_ptr();
  if (dsum.defined()) args.dsum = dsum.const_data_ptr();
  if (saved.defined()) {
    auto* const numbers = static_cast<float*>(saved.mutable_data_ptr());
    args.random = reinterpret_cast<unsigned long long*>(numbers);
    args.stats = numbers + kSavedRandom;
  }
  ResidualGradients gradients;
  const auto make = [&](int i) {
    const auto& input = *inputs[static_cast<size_t>(i)];
    auto& gradient = gradients[static_cast<size_t>(i)];
    gradient = empty(input.sizes(), input.scalar_type());
    return gradient.mutable_data_ptr();
  };
  if (form.wants(kX)) args.dx = make(kX);
  if (form.wants(kFX)) args.df_x = make(kFX);

  // In a row of sums columns come first, then the gains that are one number.
  SumsArgs sums{};
  size_t used = 0;
  for (const bool columns : {true, false}) {
    for (int i = kShortcut; i < kInputs; ++i) {
      const bool is_number =
          (i == kShortcut && form.shortcut_count == 1) || (i == kBranch && form.branch_count == 1);
      if (!form.wants(i) || is_number == columns) continue;
      auto* const to = make(i);
      const auto& gradient = gradients[static_cast<size_t>(i)];
      sums.gradients[used++] = {to,
                                static_cast<int>(gradient.numel()),
                                type_code(gradient.scalar_type())};
    }
  }
  at::DataPtr rows_of_sums;
  if (used > 0) {
    sums.rows = static_cast<int>(kernel.blocks(args.rows));
    sums.columns = static_cast<int>(row_of_sums(form));
    const auto floats = static_cast<size_t>(sums.rows) * static_cast<size_t>(sums.columns);
    rows_of_sums = allocator()->allocate(sizeof(float) * floats);
    args.sums = static_cast<float*>(rows_of_sums.get());
    sums.sums = args.sums;
  }
  const auto stream = current_stream(driver, device);
  kernel.launch(stream, args);
  if (used > 0) kernel.launch_sums(stream, sums);
  return gradients;
}

}  // namespace evenkeel::detail::cuda
