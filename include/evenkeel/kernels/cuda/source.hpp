// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/backward.cuh>
#include <evenkeel/kernels/cuda/column_sums.cuh>
#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/cuda/forward.cuh>
#include <evenkeel/kernels/cuda/rows.cuh>
#include <evenkeel/kernels/cuda/source_text.hpp>
#include <evenkeel/kernels/cuda/sums.cuh>
#include <evenkeel/kernels/cuda/tuning.hpp>
#include <evenkeel/kernels/detail/platform.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <cstdint>
#include <string>

namespace evenkeel::detail::cuda {

inline constexpr const char* kResidualSizes =
    "static_assert(sizeof(ResidualArgs) == SIZE_OF_ARGS && sizeof(SumsArgs) == SIZE_OF_SUMS_ARGS,"
    " \"the program lays it out differently\");";

/// What NVRTC compiles for a residual's form and a tuning.
EVENKEEL_COLD inline std::string source_of(const ResidualForm& form,
                                           const Tuning& tuning,
                                           int architecture) {
  const Definition definitions[] = {{"ARCH", static_cast<uint64_t>(architecture)},
                                    {"D", form.dim},
                                    {"VEC", static_cast<uint64_t>(tuning.vec)},
                                    {"TPR", static_cast<uint64_t>(tuning.threads)},
                                    {"GROUPS", static_cast<uint64_t>(tuning.groups)},
                                    {"STAGES", static_cast<uint64_t>(tuning.stages)},
                                    {"RESIDENT", static_cast<uint64_t>(tuning.resident)},
                                    {"KEEP", static_cast<uint64_t>(tuning.keep)},
                                    {"LAUNCH_EARLY", static_cast<uint64_t>(tuning.launch_early)},
                                    {"T_X", form.x},
                                    {"T_F_X", form.f_x},
                                    {"T_Y", form.y},
                                    {"T_SUM", form.sum},
                                    {"T_SHORTCUT", form.shortcut},
                                    {"T_BRANCH", form.branch},
                                    {"T_BIAS", form.bias},
                                    {"T_NORM", form.norm_parameters},
                                    {"NORM", form.norm},
                                    {"SHORTCUT", form.shortcut_count},
                                    {"BRANCH", form.branch_count},
                                    {"HAS_BIAS", form.has_bias},
                                    {"HAS_NORM_WEIGHT", form.has_norm_weight},
                                    {"HAS_NORM_BIAS", form.has_norm_bias},
                                    {"DROPS", form.drops},
                                    {"HAS_SUM", form.has_sum},
                                    {"HAS_DY", form.has_dy},
                                    {"HAS_DSUM", form.has_dsum},
                                    {"DX", form.wants(kX)},
                                    {"DF_X", form.wants(kFX)},
                                    {"DSHORTCUT", form.wants(kShortcut)},
                                    {"DBRANCH", form.wants(kBranch)},
                                    {"DBIAS", form.wants(kBias)},
                                    {"DNORM_WEIGHT", form.wants(kNormWeight)},
                                    {"DNORM_BIAS", form.wants(kNormBias)},
                                    {"SIZE_OF_ARGS", sizeof(ResidualArgs)},
                                    {"SIZE_OF_SUMS_ARGS", sizeof(SumsArgs)}};
  if (form.backward == 0U) {
    return source_text(definitions,
                       {kArgsCode, kElementsCode, kRowsCode, kForwardCode, kResidualSizes});
  }
  return source_text(definitions,
                     {kArgsCode,
                      kElementsCode,
                      kRowsCode,
                      kSumsCode,
                      kColumnSumsCode,
                      kBackwardCode,
                      kResidualSizes});
}

}  // namespace evenkeel::detail::cuda
