// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/backward.cuh>
#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/cuda/forward.cuh>
#include <evenkeel/kernels/cuda/rows.cuh>
#include <evenkeel/kernels/cuda/sums.cuh>
#include <evenkeel/kernels/cuda/tuning.hpp>
#include <evenkeel/kernels/detail/platform.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace evenkeel::detail::cuda {

/// What NVRTC compiles for a form and a tuning: what the code has in capitals, and the code. The
/// records that the program passes to a kernel are declared by one text on both sides, and their
/// sizes are compared.
EVENKEEL_COLD inline std::string source_of(const ResidualForm& form,
                                           const Tuning& tuning,
                                           int architecture) {
  struct Definition {
    const char* name;
    uint64_t value;
  };
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
  std::string source =
      "#define INLINE __device__ __forceinline__\n"
      "#define UNROLL _Pragma(\"unroll\")\n";
  for (const auto& [name, value] : definitions) {
    source.append("#define ").append(name).append(" ").append(std::to_string(value)).append("\n");
  }
  const bool backward = form.backward != 0U;
  for (const char* part : {kArgsCode,
                           kElementsCode,
                           kRowsCode,
                           backward ? kSumsCode : "",
                           backward ? kBackwardCode : kForwardCode}) {
    // A line for each statement, for the sake of the compiler's messages.
    for (; *part != '\0'; ++part) {
      const bool at_end = *part == ' ' && std::strchr(";{}", source.back()) != nullptr;
      source += at_end ? '\n' : *part;
    }
    source += '\n';
  }
  source +=
      "static_assert(sizeof(ResidualArgs) == SIZE_OF_ARGS && sizeof(SumsArgs) == SIZE_OF_SUMS_ARGS,"
      " \"the program lays it out differently\");\n";
  return source;
}

}  // namespace evenkeel::detail::cuda
