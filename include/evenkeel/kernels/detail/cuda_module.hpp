// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/cubin_store.hpp>
#include <evenkeel/kernels/detail/cuda_driver.hpp>

#include <c10/util/Exception.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// What NVRTC makes of `source`, for the GPU `architecture`, such as 90.
inline std::vector<char> compile_cubin(const CudaDriver& driver,
                                       const std::string& source,
                                       std::vector<std::string> options,
                                       int architecture) {
  options.push_back("--gpu-architecture=sm_" + std::to_string(architecture));
  options.emplace_back("--std=c++17");
  std::vector<const char*> arguments;
  arguments.reserve(options.size());
  for (const auto& option : options) arguments.push_back(option.c_str());
  CudaDriver::Handle program = nullptr;
  const int made = driver.nvrtcCreateProgram(&program,
                                             source.c_str(),
                                             "evenkeel_residual.cu",
                                             0,
                                             nullptr,
                                             nullptr);
  TORCH_CHECK(made == 0, "evenkeel: nvrtcCreateProgram failed (", made, ")");
  const int compiled =
      driver.nvrtcCompileProgram(program, static_cast<int>(arguments.size()), arguments.data());
  size_t size = 0;
  std::string log;
  std::vector<char> cubin;
  if (compiled != 0) {
    driver.nvrtcGetProgramLogSize(program, &size);
    log.resize(size);
    driver.nvrtcGetProgramLog(program, log.data());
  } else {
    driver.nvrtcGetCUBINSize(program, &size);
    cubin.resize(size);
    driver.nvrtcGetCUBIN(program, cubin.data());
  }
  driver.nvrtcDestroyProgram(&program);
  TORCH_CHECK(compiled == 0,
              "evenkeel: NVRTC failed (",
              compiled,
              ") for sm_",
              architecture,
              ": ",
              log);
  return cubin;
}

/// The same, from the disk where an earlier run left it. Also says under what name it is there.
inline std::pair<std::vector<char>, std::string> stored_cubin(
    const CudaDriver& driver,
    const CubinStore& store,
    const std::string& source,
    const std::vector<std::string>& options,
    int architecture) {
  int major = 0;
  int minor = 0;
  driver.nvrtcVersion(&major, &minor);
  std::string everything = source;
  for (const auto& option : options) everything += '\n' + option;
  everything += "\nsm_" + std::to_string(architecture) + " NVRTC " + std::to_string(major) + "." +
                std::to_string(minor);
  const auto name = CubinStore::name_of(everything);
  return {store.read(name), name};
}

/// Compiled code on one device.
class CudaModule {
 public:
  CudaModule(const CudaDriver& driver,
             const std::string& source,
             const std::vector<std::string>& options,
             int device)
      : driver_(driver) {
    const int architecture = driver.architecture(device);
    static const CubinStore store;
    auto [cubin, name] = stored_cubin(driver, store, source, options, architecture);
    if (!cubin.empty() && load(cubin) == 0) return;
    cubin = compile_cubin(driver, source, options, architecture);
    driver.check(load(cubin), "cuModuleLoadData");
    store.write(name, cubin);
  }

  CudaDriver::Handle function(const char* name) const {
    CudaDriver::Handle found = nullptr;
    driver_.check(driver_.cuModuleGetFunction(&found, module_, name), "cuModuleGetFunction");
    return found;
  }

 private:
  /// Allowed while a CUDA graph is captured: it puts nothing on a stream.
  int load(const std::vector<char>& cubin) {
    int mode = 2;  // relaxed
    driver_.cuThreadExchangeStreamCaptureMode(&mode);
    const int result = driver_.cuModuleLoadData(&module_, cubin.data());
    driver_.cuThreadExchangeStreamCaptureMode(&mode);
    return result;
  }

  const CudaDriver& driver_;
  CudaDriver::Handle module_ = nullptr;  // kept for as long as the process lives
};

/// A kernel and how it is launched.
struct CudaKernel {
  CudaDriver::Handle function = nullptr;
  unsigned threads = 0;
  unsigned shared_bytes = 0;
  bool launch_early = false;  ///< Does it wait for its predecessor itself?

  /// `argument` is the kernel's only one.
  template <typename Argument>
  void launch(const CudaDriver& driver,
              unsigned blocks,
              CudaDriver::Handle stream,
              Argument& argument) const {
    std::array<void*, 1> arguments{&argument};
    if (!launch_early) {
      driver.check(driver.cuLaunchKernel(function,
                                         blocks,
                                         1,
                                         1,
                                         threads,
                                         1,
                                         1,
                                         shared_bytes,
                                         stream,
                                         arguments.data(),
                                         nullptr),
                   "cuLaunchKernel");
      return;
    }
    // CUlaunchAttribute and CUlaunchConfig, as cuda.h has them since CUDA 11.8.
    struct Attribute {
      int id;
      char padding[4];
      union {
        char bytes[64];
        int allowed;
      } value;
    };
    struct Config {
      unsigned grid[3];
      unsigned block[3];
      unsigned shared_bytes;
      CudaDriver::Handle stream;
      Attribute* attributes;
      unsigned num_attributes;
    };
    constexpr int kProgrammaticStreamSerialization = 6;
    Attribute attribute{};
    attribute.id = kProgrammaticStreamSerialization;
    attribute.value.allowed = 1;
    const Config config{{blocks, 1, 1}, {threads, 1, 1}, shared_bytes, stream, &attribute, 1};
    driver.check(driver.cuLaunchKernelEx(&config, function, arguments.data(), nullptr),
                 "cuLaunchKernelEx");
  }
};

}  // namespace evenkeel::detail
