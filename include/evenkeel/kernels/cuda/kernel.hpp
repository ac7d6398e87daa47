// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/driver.hpp>
#include <evenkeel/kernels/cuda/kernel_list.hpp>
#include <evenkeel/kernels/cuda/module.hpp>
#include <evenkeel/kernels/cuda/source.hpp>
#include <evenkeel/kernels/cuda/tuning.hpp>
#include <evenkeel/kernels/detail/platform.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <c10/core/Device.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdint>

namespace evenkeel::detail::cuda {

/// A kernel compiled for one form and one device, ready to be launched.
class Kernel {
 public:
  EVENKEEL_COLD Kernel(const Driver& driver, const ResidualForm& form, const Tuning& tuning)
      : driver_(driver), rows_a_block_(tuning.groups) {
    constexpr int kMultiprocessors = 16;
    constexpr int kMaxDynamicShared = 8;
    const int device = static_cast<int>(form.device);
    const OnDevice on_device({c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device)});
    driver.make_context_current(device);
    const int architecture = driver.architecture(device);
    const Module module(driver, source_of(form, tuning, architecture), architecture);
    kernel_.function = module.function(form.backward == 0U ? "evenkeel_residual_forward"
                                                           : "evenkeel_residual_backward");
    kernel_.threads = static_cast<unsigned>(tuning.threads * tuning.groups);
    kernel_.shared_bytes = static_cast<unsigned>(shared_bytes(form, tuning));
    kernel_.launch_early = tuning.launch_early;
    if (kernel_.shared_bytes > 0) {
      driver.check(driver.cuFuncSetAttribute(kernel_.function,
                                             kMaxDynamicShared,
                                             static_cast<int>(kernel_.shared_bytes)),
                   "cuFuncSetAttribute");
    }
    int resident = 0;
    driver.check(
        driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(&resident,
                                                           kernel_.function,
                                                           static_cast<int>(kernel_.threads),
                                                           kernel_.shared_bytes),
        "cuOccupancyMaxActiveBlocksPerMultiprocessor");
    TORCH_CHECK(resident > 0, "a multiprocessor holds no block of the kernel");
    if (form.backward != 0U) resident = std::min(resident, tuning.resident);
    most_blocks_ = tuning.grid == 0
                       ? 0x7fffffff
                       : int64_t{resident} * driver.attribute(kMultiprocessors, device);
    if (form.backward != 0U) {
      sums_.function = module.function("evenkeel_column_sums");
      sums_.threads = 256;
      sums_.launch_early = tuning.launch_early;
    }
  }

  /// Blocks for so many rows; each writes a row of partial sums. Where the last turn would occupy
  /// few of the blocks that the GPU holds, there are no more than the turns need.
  int64_t blocks(int64_t rows) const {
    const auto over = [](int64_t p, int64_t q) { return (p + q - 1) / q; };
    const int64_t turns_of_one = over(rows, rows_a_block_);
    if (turns_of_one <= most_blocks_) return turns_of_one;
    const int64_t rest = turns_of_one % most_blocks_;
    if (rest == 0 || 4 * rest > most_blocks_) return most_blocks_;
    return over(turns_of_one, over(turns_of_one, most_blocks_));
  }

  void launch(Driver::Handle stream, ResidualArgs& args) const {
    kernel_.launch(driver_, static_cast<unsigned>(blocks(args.rows)), stream, &args);
  }

  void launch_sums(Driver::Handle stream, SumsArgs& args) const {
    sums_.launch(driver_, static_cast<unsigned>((args.columns + 15) / 16), stream, &args);
  }

  const Driver& driver() const { return driver_; }

  /// The kernel for that form, compiled when it is first asked for; null, after one
  /// warning, where it cannot be had.
  static const Kernel* find(const ResidualForm& form) {
    static KernelList<Kernel> kernels("a residual");
    const auto make = [&](const Driver& driver, int architecture) {
      auto tuning = tuning_for(form, architecture);
      if (driver.cuLaunchKernelEx == nullptr) tuning.launch_early = false;
      return new Kernel(driver, form, tuning);
    };
    return kernels.find(form_key(form), static_cast<int>(form.device), make);
  }

 private:
  const Driver& driver_;
  DeviceFunction kernel_;
  DeviceFunction sums_;
  int64_t rows_a_block_;
  int64_t most_blocks_ = 1;
};

}  // namespace evenkeel::detail::cuda
