// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/shared_library.hpp>
#include <evenkeel/kernels/detail/platform.hpp>

#include <c10/util/Exception.h>

#include <cstddef>
#include <string>

namespace evenkeel::detail::cuda {

/// NVIDIA's compiler of CUDA sources: the one that LibTorch ships, else one of the machine's.
struct Nvrtc {
  using Program = void*;

  int (*nvrtcVersion)(int*, int*);
  int (*nvrtcCreateProgram)(
      Program*, const char*, const char*, int, const char* const*, const char* const*);
  int (*nvrtcCompileProgram)(Program, int, const char* const*);
  int (*nvrtcGetCUBINSize)(Program, size_t*);
  int (*nvrtcGetCUBIN)(Program, char*);
  int (*nvrtcGetProgramLogSize)(Program, size_t*);
  int (*nvrtcGetProgramLog)(Program, char*);
  int (*nvrtcDestroyProgram)(Program*);

  std::string missing;  ///< What was not found; nothing may be called then.

  static const Nvrtc& get() {
    static const Nvrtc nvrtc;
    return nvrtc;
  }

  /// What it makes of `source` for the GPU `architecture`, such as 90.
  EVENKEEL_COLD std::string cubin(const std::string& source, int architecture) const {
    const std::string gpu = "--gpu-architecture=sm_" + std::to_string(architecture);
    const char* const options[] = {gpu.c_str(), "--std=c++17"};
    Program program = nullptr;
    int result =
        nvrtcCreateProgram(&program, source.c_str(), "evenkeel_residual.cu", 0, nullptr, nullptr);
    if (result == 0) result = nvrtcCompileProgram(program, 2, options);
    size_t size = 0;
    std::string made;
    if (result == 0) {
      nvrtcGetCUBINSize(program, &size);
      made.resize(size);
      nvrtcGetCUBIN(program, made.data());
    } else {
      if (program != nullptr) nvrtcGetProgramLogSize(program, &size);
      made.resize(size);
      if (size > 0) nvrtcGetProgramLog(program, made.data());
    }
    if (program != nullptr) nvrtcDestroyProgram(&program);
    if (result != 0) {
      made.insert(0, "NVRTC failed (" + std::to_string(result) + ") with " + gpu + ": ");
      TORCH_CHECK(false, made);
    }
    return made;
  }

 private:
  EVENKEEL_COLD Nvrtc() {
    const SharedLibrary library(
        "NVRTC",
        {"libcaffe2_nvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"},
        /*load=*/true);
#define EVENKEEL_SYMBOL(name) {#name, &(name)}
    library.find({EVENKEEL_SYMBOL(nvrtcVersion),
                  EVENKEEL_SYMBOL(nvrtcCreateProgram),
                  EVENKEEL_SYMBOL(nvrtcCompileProgram),
                  EVENKEEL_SYMBOL(nvrtcGetCUBINSize),
                  EVENKEEL_SYMBOL(nvrtcGetCUBIN),
                  EVENKEEL_SYMBOL(nvrtcGetProgramLogSize),
                  EVENKEEL_SYMBOL(nvrtcGetProgramLog),
                  EVENKEEL_SYMBOL(nvrtcDestroyProgram)},
                 missing);
#undef EVENKEEL_SYMBOL
  }
};

}  // namespace evenkeel::detail::cuda
