// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/cpu_kernels.hpp>
#include <evenkeel/kernels/detail/parallel_chunks.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/residual_config.hpp>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

namespace evenkeel::detail {

constexpr int64_t kChunkRows = 64;  // so many are summed in float32, then chunks in double

/// A residual on the CPU, with what keeps its parameters in float32.
class CpuCall {
 public:
  explicit CpuCall(const ResidualCall& call) : rows_(call.rows()) {
    in.dim = call.dim();
    in.x = rows_of(call.x);
    in.f = rows_of(call.f);
    in.a = gain(call.a);
    in.b = gain(call.b);
    in.c = parameter(call.c);
    in.w = parameter(call.w);
    in.beta = parameter(call.beta);
    in.dropout.threshold = call.settings.threshold;
    in.dropout.scale = call.settings.kept_scale();
    in.norm = call.settings.norm;
    in.eps = call.settings.eps;
  }

  static CpuRows rows_of(const at::Tensor& tensor) {
    if (!tensor.defined()) return {};
    return {const_cast<void*>(tensor.const_data_ptr()),
            static_cast<uint32_t>(type_code(tensor.scalar_type()))};
  }

  int64_t chunks() const { return (rows_ + kChunkRows - 1) / kChunkRows; }

  /// `work(chunk, begin, end)` for the rows of every chunk.
  template <typename Work>
  void for_chunks(const Work& work) const {
    constexpr int64_t kWorthAThread = 32768;  // elements
    const int64_t grain = std::max<int64_t>(1, kWorthAThread / (kChunkRows * in.dim));
    parallel_chunks(chunks(), grain, [&](int64_t first, int64_t last) {
      for (int64_t chunk = first; chunk < last; ++chunk) {
        work(chunk, chunk * kChunkRows, std::min(rows_, (chunk + 1) * kChunkRows));
      }
    });
  }

  CpuResidual in;

 private:
  const float* parameter(const at::Tensor& tensor) {
    if (!tensor.defined()) return nullptr;
    at::Tensor floats = tensor.to(at::kFloat);
    if (const int64_t fill = whole<kMostLanes>(in.dim) - in.dim; fill > 0) {
      floats = at::constant_pad_nd(floats, {0, fill});
    }
    kept_.push_back(std::move(floats));
    return static_cast<const float*>(kept_.back().const_data_ptr());
  }
  CpuGain gain(const at::Tensor& tensor) {
    if (tensor.defined() && tensor.numel() == 1) return {nullptr, tensor.item<float>()};
    return {parameter(tensor), 1.0F};
  }

  int64_t rows_;
  std::vector<at::Tensor> kept_;
};

inline uint64_t draw_cpu_seed() {
  auto* generator =
      at::get_generator_or_default<at::CPUGeneratorImpl>(std::nullopt,
                                                         at::detail::getDefaultCPUGenerator());
  const std::lock_guard<std::mutex> lock(generator->mutex_);
  return generator->random64();
}

/// Runs the forward kernel. `save` what backward needs.
inline ResidualOutputs cpu_residual_forward(const CpuKernels& kernels,
                                            const ResidualCall& call,
                                            bool save) {
  CpuCall cpu(call);
  const auto& settings = call.settings;
  ResidualOutputs outputs;
  const auto output = [&](uint32_t type) {
    return at::empty(call.x.sizes(), call.x.options().dtype(type_of_code(type)));
  };
  if (settings.has_norm()) outputs.y = output(settings.y);
  if (settings.has_sum()) outputs.sum = output(settings.sum);
  if (settings.drops()) cpu.in.dropout.seed = draw_cpu_seed();
  if (save && (settings.has_norm() || settings.drops())) {
    const int64_t stats = settings.has_norm() ? 2 * call.rows() : 0;
    outputs.saved = at::empty({kSavedRandom + stats}, call.x.options().dtype(at::kFloat));
    auto* saved = static_cast<float*>(outputs.saved.mutable_data_ptr());
    std::memcpy(saved, &cpu.in.dropout.seed, sizeof(cpu.in.dropout.seed));
    if (settings.has_norm()) cpu.in.stats = saved + kSavedRandom;
  }
  const CpuForward forward{cpu.in, CpuCall::rows_of(outputs.y), CpuCall::rows_of(outputs.sum)};
  cpu.for_chunks(
      [&](int64_t /*chunk*/, int64_t begin, int64_t end) { kernels.forward(forward, begin, end); });
  return outputs;
}

/// Runs the backward kernel and the sums that end it. `config` says which gradients are wanted; dy
/// and dsum are what comes in, either of them undefined where it is zero.
inline ResidualGradients cpu_residual_backward(const CpuKernels& kernels,
                                               const ResidualConfig& config,
                                               const ResidualCall& call,
                                               const at::Tensor& dy,
                                               const at::Tensor& dsum,
                                               const at::Tensor& saved) {
  CpuCall cpu(call);
  if (saved.defined()) {
    auto* values = static_cast<float*>(saved.mutable_data_ptr());
    std::memcpy(&cpu.in.dropout.seed, values, sizeof(cpu.in.dropout.seed));
    cpu.in.stats = values + kSavedRandom;
  }
  ResidualGradients gradients;
  if (config.dx != 0U) gradients.x = at::empty(call.x.sizes(), call.x.options());
  if (config.df != 0U) gradients.f = at::empty(call.f.sizes(), call.f.options());

  // Each chunk has a row of sums of its own, so that no sum depends on the number of threads.
  struct Sum {
    const at::Tensor* parameter;
    at::Tensor* gradient;
    int64_t first;
  };
  std::vector<Sum> wanted;
  CpuSums sums;
  const auto want =
      [&](bool yes, int64_t& first, const at::Tensor& parameter, at::Tensor& gradient) {
        if (!yes) return;
        first = sums.width;
        wanted.push_back({&parameter, &gradient, first});
        sums.width += whole<kMostLanes>(parameter.numel());
      };
  want(config.dw != 0U, sums.w, call.w, gradients.w);
  want(config.dbeta != 0U, sums.beta, call.beta, gradients.beta);
  want(config.da != 0U, config.gain_a == 1 ? sums.number_a : sums.a, call.a, gradients.a);
  want(config.db != 0U, config.gain_b == 1 ? sums.number_b : sums.b, call.b, gradients.b);
  want(config.dc != 0U, sums.c, call.c, gradients.c);
  std::vector<float> totals(static_cast<size_t>(cpu.chunks() * sums.width));

  const CpuBackward backward{cpu.in,
                             CpuCall::rows_of(dy),
                             CpuCall::rows_of(dsum),
                             CpuCall::rows_of(gradients.x),
                             CpuCall::rows_of(gradients.f),
                             sums};
  cpu.for_chunks([&](int64_t chunk, int64_t begin, int64_t end) {
    kernels.backward(backward, totals.data() + chunk * sums.width, begin, end);
  });
  kernels.column_sums(totals.data(), cpu.chunks(), sums.width);
  for (const auto& sum : wanted) {
    const auto total = at::empty(sum.parameter->sizes(), at::kFloat);
    std::copy_n(totals.data() + sum.first,
                total.numel(),
                static_cast<float*>(total.mutable_data_ptr()));
    *sum.gradient = total.to(sum.parameter->scalar_type());
  }
  return gradients;
}

}  // namespace evenkeel::detail
