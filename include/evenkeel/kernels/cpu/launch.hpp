// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cpu/kernels.hpp>
#include <evenkeel/kernels/cpu/parallel_chunks.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace evenkeel::detail::cpu {

/// The parameters as the kernels read them: float32, with zeros up to a whole vector unless they
/// are one number for all columns. `args` gets their addresses.
inline std::array<at::Tensor, kInputs> widen_parameters(ResidualCall& call, ResidualArgs& args) {
  const std::array<const void**, kInputs> addresses{nullptr,
                                                    nullptr,
                                                    &args.shortcut,
                                                    &args.branch,
                                                    &args.bias,
                                                    &args.norm_weight,
                                                    &args.norm_bias};
  std::array<at::Tensor, kInputs> wide;
  const auto inputs = call.inputs();
  for (size_t i = kShortcut; i < kInputs; ++i) {
    if (!inputs[i]->defined()) continue;
    wide[i] = inputs[i]->to(at::kFloat);
    const int64_t fill = whole<kMostLanes>(wide[i].numel()) - wide[i].numel();
    const bool is_number = i <= kBranch && wide[i].numel() == 1;
    if (fill > 0 && !is_number) wide[i] = at::constant_pad_nd(wide[i], {0, fill});
    *addresses[i] = wide[i].const_data_ptr();
  }
  return wide;
}

inline uint64_t draw_seed() {
  auto* const generator = static_cast<at::CPUGeneratorImpl*>(
      at::detail::getDefaultCPUGenerator().unsafeGetGeneratorImpl());
  const std::lock_guard<std::mutex> lock(generator->mutex_);
  return generator->random64();
}

/// Runs the forward kernel.
inline void forward(ResidualCall& call, ResidualArgs& args) {
  const auto parameters = widen_parameters(call, args);
  if (call.form.drops != 0U) args.seed = draw_seed();
  if (args.random != nullptr) *args.random = args.seed;
  parallel_chunks(args.rows,
                  static_cast<int64_t>(call.form.dim),
                  [&](int64_t /*chunk*/, int64_t begin, int64_t end) {
                    call.cpu->forward(call.form, args, begin, end);
                  });
}

/// Runs the backward kernel and the sums that end it, which are the parameters' gradients.
inline void backward(ResidualCall& call, ResidualArgs& args, ResidualGradients& gradients) {
  const auto& form = call.form;
  const auto parameters = widen_parameters(call, args);
  if (args.random != nullptr) args.seed = *args.random;
  // Each chunk has a row of sums of its own, so that no sum depends on the number of threads.
  const int64_t width = sum_offset(form, kInputs);
  const int64_t chunks = chunks_of(args.rows);
  std::vector<float> sums(static_cast<size_t>(chunks * width));
  parallel_chunks(args.rows,
                  static_cast<int64_t>(form.dim),
                  [&](int64_t chunk, int64_t begin, int64_t end) {
                    call.cpu->backward(form, args, sums.data() + chunk * width, begin, end);
                  });
  call.cpu->column_sums(sums.data(), chunks, width);
  const auto inputs = call.inputs();
  for (int i = kShortcut; i < kInputs; ++i) {
    if (!form.wants(i)) continue;
    const auto& parameter = *inputs[static_cast<size_t>(i)];
    const auto total = new_tensor(parameter, parameter.sizes(), at::kFloat);
    std::copy_n(sums.data() + sum_offset(form, i),
                total.numel(),
                static_cast<float*>(total.mutable_data_ptr()));
    gradients[static_cast<size_t>(i)] = total.to(parameter.scalar_type());
  }
}

}  // namespace evenkeel::detail::cpu
