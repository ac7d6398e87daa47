// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/bias.cuh>
#include <evenkeel/kernels/cuda/column_sums.cuh>
#include <evenkeel/kernels/cuda/driver.hpp>
#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/cuda/kernel_list.hpp>
#include <evenkeel/kernels/cuda/module.hpp>
#include <evenkeel/kernels/cuda/source_text.hpp>
#include <evenkeel/kernels/detail/bias_args.hpp>
#include <evenkeel/kernels/detail/bias_form.hpp>
#include <evenkeel/kernels/detail/platform.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>

#include <c10/core/Device.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace evenkeel::detail::cuda {

/// The kernel of a bias's gradient for one form and one device.
class BiasKernel {
 public:
  EVENKEEL_COLD BiasKernel(const Driver& driver, const BiasForm& form, int architecture)
      : driver_(driver) {
    constexpr int kMultiprocessors = 16;
    const int device = static_cast<int>(form.device);
    const OnDevice on_device({c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device)});
    driver.make_context_current(device);
    const bool launch_early = architecture >= 90 && driver.cuLaunchKernelEx != nullptr;
    constexpr uint64_t kVector = 8;
    constexpr uint64_t kBlock = 256;
    constexpr uint64_t kMostVectors = 4;
    const uint64_t dim = form.dim;
    uint64_t threads = 32;  // a row
    while (threads < kBlock && dim > kMostVectors * kVector * threads) threads *= 2;
    groups_ = static_cast<int64_t>(kBlock / threads);
    const Definition definitions[] = {{"ARCH", static_cast<uint64_t>(architecture)},
                                      {"D", dim},
                                      {"VEC", kVector},
                                      {"TPR", threads},
                                      {"GROUPS", kBlock / threads},
                                      {"LAUNCH_EARLY", launch_early ? 1U : 0U},
                                      {"T_Y", form.type},
                                      {"RELU", form.relu},
                                      {"SIZE_OF_ARGS", sizeof(BiasArgs)},
                                      {"SIZE_OF_SUMS_ARGS", sizeof(SumsArgs)}};
    const auto source =
        source_text(definitions,
                    {kArgsCode, kBiasArgsCode, kElementsCode, kColumnSumsCode, kBiasCode});
    const Module module(driver, source, architecture);
    kernel_.function = module.function("evenkeel_bias_backward");
    sums_.function = module.function("evenkeel_column_sums");
    kernel_.threads = sums_.threads = kBlock;
    kernel_.launch_early = sums_.launch_early = launch_early;
    most_blocks_ = int64_t{2} * driver.attribute(kMultiprocessors, device);
  }

  /// Blocks for so many rows; each writes a row of sums.
  int64_t blocks(int64_t rows) const {
    return std::min((rows + groups_ - 1) / groups_, most_blocks_);
  }

  void launch(Driver::Handle stream, BiasArgs& args, SumsArgs& sums) const {
    kernel_.launch(driver_, static_cast<unsigned>(blocks(args.rows)), stream, &args);
    sums_.launch(driver_, static_cast<unsigned>((sums.columns + 15) / 16), stream, &sums);
  }

  const Driver& driver() const { return driver_; }

  /// The kernel for that form, compiled when it is first asked for; null, after one warning, where
  /// it cannot be had.
  static const BiasKernel* find(const BiasForm& form) {
    static KernelList<BiasKernel> kernels("the gradient of a bias");
    return kernels.find(form);
  }

 private:
  const Driver& driver_;
  DeviceFunction kernel_;
  DeviceFunction sums_;
  int64_t groups_ = 1;
  int64_t most_blocks_ = 1;
};

}  // namespace evenkeel::detail::cuda
