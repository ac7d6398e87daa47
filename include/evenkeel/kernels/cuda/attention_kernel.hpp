// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/attention.cuh>
#include <evenkeel/kernels/cuda/driver.hpp>
#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/cuda/kernel_list.hpp>
#include <evenkeel/kernels/cuda/module.hpp>
#include <evenkeel/kernels/cuda/source_text.hpp>
#include <evenkeel/kernels/detail/attention_args.hpp>
#include <evenkeel/kernels/detail/attention_form.hpp>
#include <evenkeel/kernels/detail/head_strides.hpp>
#include <evenkeel/kernels/detail/platform.hpp>

#include <c10/core/Device.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace evenkeel::detail::cuda {

/// What NVRTC compiles for a form.
EVENKEEL_COLD inline std::string source_of(const AttentionForm& form,
                                           bool launch_early,
                                           int architecture) {
  const Definition definitions[] = {{"ARCH", static_cast<uint64_t>(architecture)},
                                    {"D", form.dim},
                                    {"VEC", 8},
                                    {"TPR", static_cast<uint64_t>(form.dim) / 8},
                                    {"GROUPS", 1},
                                    {"LAUNCH_EARLY", launch_early ? 1U : 0U},
                                    {"KEYS", static_cast<uint64_t>(form.most_keys())},
                                    {"T_HEADS", form.type},
                                    {"MASK", form.mask == 0U ? 0U : 1U},
                                    {"T_MASK", form.mask == 0U ? 0U : form.mask - 1U},
                                    {"CAUSAL", form.causal},
                                    {"SIZE_OF_ARGS", sizeof(AttentionArgs)}};
  return source_text(definitions,
                     {kHeadStridesCode, kAttentionArgsCode, kElementsCode, kAttentionCode});
}

/// The kernel of short attention, forward or backward, for one form and one device.
class AttentionKernel {
 public:
  /// Longest sequences that there are kernels for.
  static constexpr int64_t kMostQueries = 128;
  static constexpr int64_t kMostKeys = 128;

  EVENKEEL_COLD AttentionKernel(const Driver& driver, const AttentionForm& form, int architecture)
      : driver_(driver), form_(form) {
    constexpr int kMaxDynamicShared = 8;
    constexpr int kMaxSharedOptIn = 97;
    TORCH_CHECK(architecture >= 80, "expected sm_80 or newer, but got sm_", architecture);
    const int device = static_cast<int>(form.device);
    const OnDevice on_device({c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device)});
    driver.make_context_current(device);
    kernel_.launch_early = architecture >= 90 && driver.cuLaunchKernelEx != nullptr;
    const Module module(driver, source_of(form, kernel_.launch_early, architecture), architecture);
    kernel_.function = module.function(form.backward == 0U ? "evenkeel_attention_forward"
                                                           : "evenkeel_attention_backward");
    constexpr int kOfItsOwn = 1024;  // the mask, and what the driver keeps
    most_shared_ = driver.attribute(kMaxSharedOptIn, device) - kOfItsOwn;
    const int wanted = shared_bytes(kMostQueries, form.most_keys());
    driver.check(driver.cuFuncSetAttribute(kernel_.function,
                                           kMaxDynamicShared,
                                           std::min(wanted, most_shared_)),
                 "cuFuncSetAttribute");
  }

  /// Whether a multiprocessor has the memory for a head.
  bool fits(int64_t queries, int64_t keys) const {
    return shared_bytes(queries, keys) <= most_shared_;
  }

  /// A block for each head of each batch row, a warp for 16 positions.
  void launch(Driver::Handle stream, AttentionArgs& args, int64_t batch) const {
    auto kernel = kernel_;
    const bool both = form_.backward != 0U;
    const auto positions = both ? std::max(args.queries, args.keys) : args.queries;
    kernel.threads = static_cast<unsigned>(padded(positions) * 2);
    kernel.shared_bytes = static_cast<unsigned>(shared_bytes(args.queries, args.keys));
    kernel.launch(driver_, static_cast<unsigned>(batch * args.heads), stream, &args);
  }

  const Driver& driver() const { return driver_; }

  /// The kernel for that form, compiled when it is first asked for; null, after one warning, where
  /// it cannot be had.
  static const AttentionKernel* find(const AttentionForm& form) {
    static KernelList<AttentionKernel> kernels("attention of short sequences");
    return kernels.find(form);
  }

 private:
  static int64_t padded(int64_t length) { return (length + 15) / 16 * 16; }

  // As the kernels lay it out.
  int shared_bytes(int64_t queries, int64_t keys) const {
    const auto pitch = static_cast<int64_t>(form_.dim) + 8;
    const auto of_queries = padded(queries);
    const auto of_keys = padded(keys);
    const auto elements = form_.backward == 0U ? (of_queries + 2 * of_keys) * pitch
                                               : 2 * (of_queries + of_keys) * pitch +
                                                     2 * of_queries * (form_.most_keys() + 8);
    return static_cast<int>(2 * elements);
  }

  const Driver& driver_;
  AttentionForm form_;
  DeviceFunction kernel_;
  int most_shared_ = 0;
};

}  // namespace evenkeel::detail::cuda
