// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/cross_entropy.cuh>
#include <evenkeel/kernels/cuda/driver.hpp>
#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/cuda/kernel_list.hpp>
#include <evenkeel/kernels/cuda/module.hpp>
#include <evenkeel/kernels/cuda/source_text.hpp>
#include <evenkeel/kernels/detail/cross_entropy_args.hpp>
#include <evenkeel/kernels/detail/platform.hpp>

#include <c10/core/Device.h>

#include <cstdint>

namespace evenkeel::detail::cuda {

/// The kernels of the cross-entropy for one type of logits and one device.
class CrossEntropyKernel {
 public:
  static constexpr int64_t kVector = 8;  ///< The number of columns is a multiple of it.

  EVENKEEL_COLD CrossEntropyKernel(const Driver& driver,
                                   uint64_t type,
                                   int device,
                                   int architecture)
      : driver_(driver) {
    const OnDevice on_device({c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device)});
    driver.make_context_current(device);
    const bool launch_early = architecture >= 90 && driver.cuLaunchKernelEx != nullptr;
    constexpr uint64_t kBlock = 256;
    const Definition definitions[] = {{"ARCH", static_cast<uint64_t>(architecture)},
                                      {"D", kVector},  // of one load: rows are of any length
                                      {"VEC", kVector},
                                      {"TPR", kBlock},
                                      {"GROUPS", 1},
                                      {"LAUNCH_EARLY", launch_early ? 1U : 0U},
                                      {"T_LOGITS", type},
                                      {"SIZE_OF_ARGS", sizeof(CrossEntropyArgs)}};
    const auto source =
        source_text(definitions, {kCrossEntropyArgsCode, kElementsCode, kCrossEntropyCode});
    const Module module(driver, source, architecture);
    forward_.function = module.function("evenkeel_cross_entropy_forward");
    backward_.function = module.function("evenkeel_cross_entropy_backward");
    forward_.threads = backward_.threads = kBlock;
    forward_.launch_early = backward_.launch_early = launch_early;
  }

  /// A block for each row.
  void launch(bool backward, Driver::Handle stream, CrossEntropyArgs& args, int64_t rows) const {
    (backward ? backward_ : forward_).launch(driver_, static_cast<unsigned>(rows), stream, &args);
  }

  const Driver& driver() const { return driver_; }

  /// The kernels for logits of that type, 1 bfloat16 or 2 half, compiled when they are first asked
  /// for; null, after one warning, where they cannot be had.
  static const CrossEntropyKernel* find(uint64_t type, int device) {
    static KernelList<CrossEntropyKernel> kernels("the cross-entropy");
    const auto make = [&](const Driver& driver, int architecture) {
      return new CrossEntropyKernel(driver, type, device, architecture);
    };
    return kernels.find(type + 4 * static_cast<uint64_t>(device), device, make);
  }

 private:
  const Driver& driver_;
  DeviceFunction forward_;
  DeviceFunction backward_;
};

}  // namespace evenkeel::detail::cuda
