// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/backward.cuh>
#include <evenkeel/kernels/cuda/elements.cuh>
#include <evenkeel/kernels/cuda/forward.cuh>
#include <evenkeel/kernels/cuda/rows.cuh>
#include <evenkeel/kernels/cuda/sums.cuh>
#include <evenkeel/kernels/cuda/tuning.hpp>
#include <evenkeel/kernels/detail/cold.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::detail::cuda {

/// What NVRTC compiles for that direction. The records that the program passes to a kernel are
/// declared by one text on both sides, and their sizes are compared.
EVENKEEL_COLD inline std::string source_of(bool backward) {
  std::string source;
  for (const auto* part : {kArgsCode, kElementsCode, kRowsCode}) source += std::string(part) + ' ';
  if (backward) {
    source += std::string(kSumsCode) + ' ';
    source += kBackwardCode;
  } else {
    source += kForwardCode;
  }
  // A line for each statement, for the sake of the compiler's messages.
  std::string lines;
  lines.reserve(source.size());
  for (const char c : source) {
    const bool at_end = !lines.empty() && std::strchr(";{}", lines.back()) != nullptr;
    lines += at_end && c == ' ' ? '\n' : c;
  }
  const auto check = [&](const char* record, size_t size) {
    lines += std::string("\nstatic_assert(sizeof(") + record + ") == " + std::to_string(size) +
             ", \"the program lays it out differently\");";
  };
  check("ResidualArgs", sizeof(ResidualArgs));
  check("SumsArgs", sizeof(SumsArgs));
  return lines;
}

/// The options of the compiler for a form and a tuning: what the source has in capitals.
EVENKEEL_COLD inline std::vector<std::string> options_of(const ResidualForm& form,
                                                         const Tuning& tuning,
                                                         int architecture) {
  const std::vector<std::pair<const char*, uint64_t>> values{
      {"ARCH", static_cast<uint64_t>(architecture)},
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
      {"DNORM_BIAS", form.wants(kNormBias)}};
  std::vector<std::string> options{"-DINLINE=__device__ __forceinline__",
                                   "-DUNROLL=_Pragma(\"unroll\")"};
  for (const auto& [name, value] : values) {
    options.push_back(std::string("-D") + name + "=" + std::to_string(value));
  }
  return options;
}

}  // namespace evenkeel::detail::cuda
