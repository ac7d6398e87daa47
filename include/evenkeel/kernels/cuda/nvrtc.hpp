// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/shared_library.hpp>
#include <evenkeel/kernels/detail/cold.hpp>

#include <c10/util/Exception.h>

#include <cstddef>
#include <string>
#include <vector>

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
  EVENKEEL_COLD std::vector<char> cubin(const std::string& source,
                                        std::vector<std::string> options,
                                        int architecture) const {
    options.push_back("--gpu-architecture=sm_" + std::to_string(architecture));
    options.emplace_back("--std=c++17");
    std::vector<const char*> arguments;
    arguments.reserve(options.size());
    for (const auto& option : options) arguments.push_back(option.c_str());
    Program program = nullptr;
    const int made =
        nvrtcCreateProgram(&program, source.c_str(), "evenkeel_residual.cu", 0, nullptr, nullptr);
    TORCH_CHECK(made == 0, "nvrtcCreateProgram failed (", made, ")");
    const int compiled =
        nvrtcCompileProgram(program, static_cast<int>(arguments.size()), arguments.data());
    size_t size = 0;
    std::string log;
    std::vector<char> cubin;
    if (compiled != 0) {
      nvrtcGetProgramLogSize(program, &size);
      log.resize(size);
      nvrtcGetProgramLog(program, log.data());
    } else {
      nvrtcGetCUBINSize(program, &size);
      cubin.resize(size);
      nvrtcGetCUBIN(program, cubin.data());
    }
    nvrtcDestroyProgram(&program);
    TORCH_CHECK(compiled == 0, "NVRTC failed (", compiled, ") for sm_", architecture, ": ", log);
    return cubin;
  }

 private:
  EVENKEEL_COLD Nvrtc() {
    const SharedLibrary library("NVRTC",
                                {"libcaffe2_nvrtc.so",
                                 SharedLibrary::beside_torch("libcaffe2_nvrtc.so"),
                                 "libnvrtc.so.13",
                                 "libnvrtc.so.12",
                                 "libnvrtc.so"});
#define EVENKEEL_FIND(name) library.find(name, #name, missing)
    EVENKEEL_FIND(nvrtcVersion);
    EVENKEEL_FIND(nvrtcCreateProgram);
    EVENKEEL_FIND(nvrtcCompileProgram);
    EVENKEEL_FIND(nvrtcGetCUBINSize);
    EVENKEEL_FIND(nvrtcGetCUBIN);
    EVENKEEL_FIND(nvrtcGetProgramLogSize);
    EVENKEEL_FIND(nvrtcGetProgramLog);
    EVENKEEL_FIND(nvrtcDestroyProgram);
#undef EVENKEEL_FIND
  }
};

}  // namespace evenkeel::detail::cuda
