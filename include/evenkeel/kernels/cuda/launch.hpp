// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/kernel.hpp>
#include <evenkeel/kernels/cuda/philox.hpp>
#include <evenkeel/kernels/cuda/tuning.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>

#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/Allocator.h>

#include <cstddef>

namespace evenkeel::detail::cuda {

/// Runs the forward kernel.
inline void forward(const ResidualCall& call, ResidualArgs& args) {
  const auto device = call.terms.x.device();
  const auto& driver = call.cuda->driver();
  driver.make_context_current(device.index());
  PhiloxDraw draw;
  if (call.form.drops != 0U) {
    draw = draw_philox(driver, device);
    args.seed = draw.seed;
    args.offset = draw.offset;
    args.offset_in_graph = draw.offset_in_graph;
    args.captured = draw.captured ? 1 : 0;
  }
  call.cuda->launch(driver.current_stream(device), args);
}

/// Runs the backward kernel and the sums that end it, which are the parameters' gradients.
inline void backward(ResidualCall& call, ResidualArgs& args, ResidualGradients& gradients) {
  const auto device = call.terms.x.device();
  const auto& kernel = *call.cuda;
  const auto& form = call.form;
  kernel.driver().make_context_current(device.index());
  // In a row of sums columns come first, then the gains that are one number.
  SumsArgs sums{};
  size_t used = 0;
  const auto inputs = call.inputs();
  for (const bool columns : {true, false}) {
    for (int i = kShortcut; i < kInputs; ++i) {
      const bool is_number =
          (i == kShortcut && form.shortcut_count == 1) || (i == kBranch && form.branch_count == 1);
      if (!form.wants(i) || is_number == columns) continue;
      const auto& input = *inputs[static_cast<size_t>(i)];
      auto& gradient = gradients[static_cast<size_t>(i)];
      gradient = new_tensor(input, input.sizes(), input.scalar_type());
      sums.gradients[used++] = {gradient.mutable_data_ptr(),
                                static_cast<int>(gradient.numel()),
                                type_code(gradient.scalar_type())};
    }
  }
  at::DataPtr rows_of_sums;
  if (used > 0) {
    sums.rows = static_cast<int>(kernel.blocks(args.rows));
    sums.columns = static_cast<int>(row_of_sums(form));
    const auto floats = static_cast<size_t>(sums.rows) * static_cast<size_t>(sums.columns);
    rows_of_sums =
        at::detail::getCUDAHooks().getCUDADeviceAllocator()->allocate(sizeof(float) * floats);
    args.sums = static_cast<float*>(rows_of_sums.get());
    sums.sums = args.sums;
  }
  auto* const stream = kernel.driver().current_stream(device);
  kernel.launch(stream, args);
  if (used > 0) kernel.launch_sums(stream, sums);
}

}  // namespace evenkeel::detail::cuda
