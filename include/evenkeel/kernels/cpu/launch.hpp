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
#include <cstring>
#include <mutex>
#include <vector>

namespace evenkeel::detail::cpu {

constexpr int64_t kChunkRows = 64;  // so many are summed in float32, then chunks in double

inline int64_t chunks_of(int64_t rows) {
  return (rows + kChunkRows - 1) / kChunkRows;
}

/// `work(chunk, begin, end)` for the rows of every chunk, on several threads.
template <typename Work>
void for_chunks(int64_t rows, int64_t dim, const Work& work) {
  constexpr int64_t kWorthAThread = 32768;  // elements
  const int64_t grain = std::max<int64_t>(1, kWorthAThread / (kChunkRows * dim));
  parallel_chunks(chunks_of(rows), grain, [&](int64_t first, int64_t last) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      work(chunk, chunk * kChunkRows, std::min(rows, (chunk + 1) * kChunkRows));
    }
  });
}

/// Parameters as the kernels read them: float32, with zeros up to a whole vector.
class Parameters {
 public:
  explicit Parameters(ResidualCall& call, ResidualArgs& args) {
    const std::array<const void**, kInputs> addresses{nullptr,
                                                      nullptr,
                                                      &args.shortcut,
                                                      &args.branch,
                                                      &args.bias,
                                                      &args.norm_weight,
                                                      &args.norm_bias};
    const auto inputs = call.inputs();
    for (size_t i = kShortcut; i < kInputs; ++i) {
      if (!inputs[i]->defined()) continue;
      kept_[i] = inputs[i]->to(at::kFloat);
      const int64_t fill = whole<kMostLanes>(kept_[i].numel()) - kept_[i].numel();
      if (fill > 0) kept_[i] = at::constant_pad_nd(kept_[i], {0, fill});
      *addresses[i] = kept_[i].const_data_ptr();
    }
  }

 private:
  std::array<at::Tensor, kInputs> kept_;
};

inline uint64_t draw_seed() {
  auto* generator =
      at::get_generator_or_default<at::CPUGeneratorImpl>(std::nullopt,
                                                         at::detail::getDefaultCPUGenerator());
  const std::lock_guard<std::mutex> lock(generator->mutex_);
  return generator->random64();
}

/// Runs the forward kernel. `saved`, where given, becomes what backward needs.
inline JoinedResidual forward(const Kernels& kernels, ResidualCall& call, at::Tensor* saved) {
  const auto& form = call.form;
  auto args = args_of(call);
  const Parameters parameters(call, args);
  JoinedResidual outputs;
  const auto output = [&](uint64_t type, void*& address) {
    auto tensor = at::empty(call.terms.x.sizes(), call.terms.x.options().dtype(type_of_code(type)));
    address = tensor.mutable_data_ptr();
    return tensor;
  };
  if (form.has_norm()) outputs.y = output(form.y, args.y);
  if (form.has_sum != 0U) outputs.sum = output(form.sum, args.sum);
  if (form.drops != 0U) args.seed = draw_seed();
  if (saved != nullptr && (form.has_norm() || form.drops != 0U)) {
    const int64_t stats =
        form.has_norm() ? args.rows * int64_t{sizeof(RowStats) / sizeof(float)} : 0;
    *saved = at::empty({kSavedRandom + stats}, call.terms.x.options().dtype(at::kFloat));
    auto* const numbers = static_cast<float*>(saved->mutable_data_ptr());
    std::memcpy(numbers, &args.seed, sizeof(args.seed));
    if (form.has_norm()) args.stats = numbers + kSavedRandom;
  }
  for_chunks(args.rows,
             static_cast<int64_t>(form.dim),
             [&](int64_t /*chunk*/, int64_t begin, int64_t end) {
               kernels.forward(form, args, begin, end);
             });
  return outputs;
}

/// Runs the backward kernel and the sums that end it. The form says which gradients are wanted; dy
/// and dsum are what comes in, either of them undefined where it is zero.
inline ResidualGradients backward(const Kernels& kernels,
                                  ResidualCall& call,
                                  const at::Tensor& dy,
                                  const at::Tensor& dsum,
                                  const at::Tensor& saved) {
  const auto& form = call.form;
  auto args = args_of(call);
  const Parameters parameters(call, args);
  if (saved.defined()) {
    auto* const numbers = static_cast<float*>(saved.mutable_data_ptr());
    std::memcpy(&args.seed, numbers, sizeof(args.seed));
    args.stats = numbers + kSavedRandom;
  }
  if (dy.defined()) args.dy = dy.const_data_ptr();
  if (dsum.defined()) args.dsum = dsum.const_data_ptr();
  const auto inputs = call.inputs();
  ResidualGradients gradients;
  for (const int i : {kX, kFX}) {
    if (!form.wants(i)) continue;
    const auto& input = *inputs[static_cast<size_t>(i)];
    auto& gradient = gradients[static_cast<size_t>(i)];
    gradient = at::empty(input.sizes(), input.options());
    (i == kX ? args.dx : args.df_x) = gradient.mutable_data_ptr();
  }

  // Each chunk has a row of sums of its own, so that no sum depends on the number of threads.
  const int64_t width = sum_offset(form, kInputs);
  std::vector<float> sums(static_cast<size_t>(chunks_of(args.rows) * width));
  args.sums = sums.data();
  for_chunks(args.rows,
             static_cast<int64_t>(form.dim),
             [&](int64_t chunk, int64_t begin, int64_t end) {
               kernels.backward(form, args, args.sums + chunk * width, begin, end);
             });
  kernels.column_sums(sums.data(), chunks_of(args.rows), width);
  for (int i = kShortcut; i < kInputs; ++i) {
    if (!form.wants(i)) continue;
    const auto& parameter = *inputs[static_cast<size_t>(i)];
    const auto total = at::empty(parameter.sizes(), at::kFloat);
    std::copy_n(sums.data() + sum_offset(form, i),
                total.numel(),
                static_cast<float*>(total.mutable_data_ptr()));
    gradients[static_cast<size_t>(i)] = total.to(parameter.scalar_type());
  }
  return gradients;
}

}  // namespace evenkeel::detail::cpu
