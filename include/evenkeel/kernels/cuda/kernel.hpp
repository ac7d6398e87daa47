// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/driver.hpp>
#include <evenkeel/kernels/cuda/module.hpp>
#include <evenkeel/kernels/cuda/source.hpp>
#include <evenkeel/kernels/cuda/tuning.hpp>
#include <evenkeel/kernels/detail/cold.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <c10/core/Device.h>
#include <c10/core/DeviceGuard.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <forward_list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::detail::cuda {

/// A kernel compiled for one form and one device, ready to be launched.
class Kernel {
 public:
  EVENKEEL_COLD Kernel(const Driver& driver, const ResidualForm& form, const Tuning& tuning)
      : driver_(driver), rows_a_block_(tuning.groups) {
    constexpr int kMultiprocessors = 16;
    constexpr int kMaxDynamicShared = 8;
    const int device = static_cast<int>(form.device);
    const c10::OptionalDeviceGuard guard(
        c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device)));
    driver.make_context_current(device);
    const int architecture = driver.architecture(device);
    const Module module(driver,
                        source_of(form.backward != 0U),
                        options_of(form, tuning, architecture),
                        architecture);
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
    kernel_.launch(driver_, static_cast<unsigned>(blocks(args.rows)), stream, args);
  }

  void launch_sums(Driver::Handle stream, SumsArgs& args) const {
    sums_.launch(driver_, static_cast<unsigned>((args.columns + 15) / 16), stream, args);
  }

  const Driver& driver() const { return driver_; }

  /// The kernel for that form, compiled when it is first asked for; null, after one
  /// warning, where it cannot be had.
  static const Kernel* find(const ResidualForm& form) {
    thread_local std::vector<std::pair<uint64_t, const Kernel*>> known;  // a few; needs no lock
    const auto key = form.key();
    for (const auto& [its_key, kernel] : known) {
      if (its_key == key) return kernel;
    }
    known.emplace_back(key, find_or_make(form));
    return known.back().second;
  }

 private:
  EVENKEEL_COLD static const Kernel* find_or_make(const ResidualForm& form) {
    struct Entry {
      explicit Entry(uint64_t key_) : key(key_) {}
      const uint64_t key;
      std::once_flag once;
      std::unique_ptr<const Kernel> kernel;
    };
    static std::mutex mutex;
    static auto& entries = *new std::forward_list<Entry>;  // outlives other threads
    Entry* entry = nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      for (auto& each : entries) {
        if (each.key == form.key()) entry = &each;
      }
      if (entry == nullptr) entry = &entries.emplace_front(form.key());
    }
    std::call_once(entry->once, [&] { entry->kernel = make(form); });
    return entry->kernel.get();
  }

  EVENKEEL_COLD static std::unique_ptr<const Kernel> make(const ResidualForm& form) {
    const auto* driver = Driver::get();
    if (driver == nullptr) return nullptr;
    try {
      const int architecture = driver->architecture(static_cast<int>(form.device));
      TORCH_CHECK(architecture >= 70, "expected sm_70 or newer, but got sm_", architecture);
      auto tuning = tuning_for(form, architecture);
      if (driver->cuLaunchKernelEx == nullptr) tuning.launch_early = false;
      return std::make_unique<const Kernel>(*driver, form, tuning);
    } catch (const std::exception& error) {
      const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
      TORCH_WARN_ONCE("evenkeel: a residual is not fused on CUDA: ",
                      of_torch != nullptr ? of_torch->what_without_backtrace() : error.what());
      return nullptr;
    }
  }

  const Driver& driver_;
  DeviceFunction kernel_;
  DeviceFunction sums_;
  int64_t rows_a_block_;
  int64_t most_blocks_ = 1;
};

}  // namespace evenkeel::detail::cuda
