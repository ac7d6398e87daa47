// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/column_sums.cuh>
#include <evenkeel/kernels/cuda/driver.hpp>
#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/cuda/kernel_list.hpp>
#include <evenkeel/kernels/cuda/module.hpp>
#include <evenkeel/kernels/cuda/shaped.cuh>
#include <evenkeel/kernels/cuda/source_text.hpp>
#include <evenkeel/kernels/detail/platform.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/shaped_args.hpp>
#include <evenkeel/kernels/detail/shaped_form.hpp>

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

namespace evenkeel::detail::cuda {

/// How the threads of a block divide a tile of a head, whose rows have `vec * threads` columns.
struct ShapedTuning {
  static constexpr int kBlock = 256;  ///< threads

  int vec;      ///< elements a load
  int threads;  ///< a row, a power of 2
  int groups() const { return kBlock / threads; }
};

/// A row of a head lies within a warp. `threads` is above 32 where it does not fit.
inline ShapedTuning shaped_tuning(uint64_t dim, bool any_float) {
  ShapedTuning tuning{any_float && dim <= 128 ? 4 : 8, 1};
  while (dim % static_cast<uint64_t>(tuning.vec) != 0) tuning.vec /= 2;
  while (int64_t{tuning.threads} * tuning.vec < static_cast<int64_t>(dim)) tuning.threads *= 2;
  return tuning;
}

/// For so many positions, see ShapedForm::rows: few where there are few, and not so many that
/// registers run short.
inline uint64_t shaped_rows(const ShapedForm& form, int64_t length) {
  const auto groups = shaped_tuning(form.dim, form.any_float()).groups();
  const uint64_t most = form.any_float() || form.backward != 0U ? 2 : 3;
  uint64_t rows = 0;
  while (rows < most && (int64_t{groups} << rows) < length) ++rows;
  return rows;
}

/// What NVRTC compiles for a form.
EVENKEEL_COLD inline std::string source_of(const ShapedForm& form,
                                           bool launch_early,
                                           int architecture) {
  const auto tuning = shaped_tuning(form.dim, form.any_float());
  const Definition definitions[] = {{"ARCH", static_cast<uint64_t>(architecture)},
                                    {"D", form.dim},
                                    {"VEC", static_cast<uint64_t>(tuning.vec)},
                                    {"TPR", static_cast<uint64_t>(tuning.threads)},
                                    {"GROUPS", static_cast<uint64_t>(tuning.groups())},
                                    {"ROWS", uint64_t{1} << form.rows},
                                    {"LAUNCH_EARLY", launch_early ? 1U : 0U},
                                    {"T_A", form.a},
                                    {"T_V", form.v},
                                    {"T_Y", form.y},
                                    {"T_GAIN", form.gain},
                                    {"ALPHA", form.alpha_count},
                                    {"BETA", form.beta_count},
                                    {"GAMMA", form.gamma_count},
                                    {"IDENTITY", form.identity},
                                    {"CENTRED", form.centred},
                                    {"CAUSAL", form.causal},
                                    {"DALPHA", form.dalpha},
                                    {"DBETA", form.dbeta},
                                    {"DGAMMA", form.dgamma},
                                    {"SIZE_OF_ARGS", sizeof(ShapedArgs)},
                                    {"SIZE_OF_SUMS_ARGS", sizeof(SumsArgs)}};
  return source_text(
      definitions,
      {kArgsCode, kHeadStridesCode, kShapedArgsCode, kElementsCode, kColumnSumsCode, kShapedCode});
}

/// The kernels of shaped attention's sum for one form and one device.
class ShapedKernel {
 public:
  EVENKEEL_COLD ShapedKernel(const Driver& driver, const ShapedForm& form, int architecture)
      : driver_(driver) {
    const int device = static_cast<int>(form.device);
    const OnDevice on_device({c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device)});
    driver.make_context_current(device);
    const bool launch_early = architecture >= 90 && driver.cuLaunchKernelEx != nullptr;
    const Module module(driver, source_of(form, launch_early, architecture), architecture);
    kernel_.function = module.function(form.backward == 0U ? "evenkeel_shaped_forward"
                                                           : "evenkeel_shaped_backward");
    sums_.function = module.function("evenkeel_column_sums");
    kernel_.threads = ShapedTuning::kBlock;
    sums_.threads = 256;
    kernel_.launch_early = sums_.launch_early = launch_early;
  }

  /// A block for each head of each batch row.
  void launch(Driver::Handle stream, ShapedArgs& args, int64_t batch) const {
    kernel_.launch(driver_, static_cast<unsigned>(batch * args.heads), stream, &args);
  }

  void launch_sums(Driver::Handle stream, SumsArgs& args) const {
    sums_.launch(driver_, static_cast<unsigned>((args.columns + 15) / 16), stream, &args);
  }

  const Driver& driver() const { return driver_; }

  /// The kernel for that form, compiled when it is first asked for; null, after one warning, where
  /// it cannot be had.
  static const ShapedKernel* find(const ShapedForm& form) {
    static KernelList<ShapedKernel> kernels("the sum of shaped attention");
    return kernels.find(form);
  }

 private:
  const Driver& driver_;
  DeviceFunction kernel_;
  DeviceFunction sums_;
};

}  // namespace evenkeel::detail::cuda
