// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/cubin_store.hpp>
#include <evenkeel/kernels/cuda/driver.hpp>
#include <evenkeel/kernels/cuda/nvrtc.hpp>
#include <evenkeel/kernels/detail/cold.hpp>

#include <array>
#include <string>
#include <vector>

namespace evenkeel::detail::cuda {

/// Under what name the disk keeps what NVRTC makes of all that.
EVENKEEL_COLD inline std::string cubin_name(const Nvrtc& nvrtc,
                                            const std::string& source,
                                            const std::vector<std::string>& options,
                                            int architecture) {
  int major = 0;
  int minor = 0;
  nvrtc.nvrtcVersion(&major, &minor);
  std::string everything = source;
  for (const auto& option : options) everything += '\n' + option;
  everything += "\nsm_" + std::to_string(architecture) + " NVRTC " + std::to_string(major) + "." +
                std::to_string(minor);
  return CubinStore::name_of(everything);
}

/// Compiled code on one device.
class Module {
 public:
  EVENKEEL_COLD Module(const Driver& driver,
                       const std::string& source,
                       const std::vector<std::string>& options,
                       int architecture)
      : driver_(driver) {
    static const CubinStore store;
    const auto& nvrtc = Nvrtc::get();
    const auto name = cubin_name(nvrtc, source, options, architecture);
    auto cubin = store.read(name);
    if (!cubin.empty() && load(cubin) == 0) return;
    cubin = nvrtc.cubin(source, options, architecture);
    driver.check(load(cubin), "cuModuleLoadData");
    store.write(name, cubin);
  }

  Driver::Handle function(const char* name) const {
    Driver::Handle found = nullptr;
    driver_.check(driver_.cuModuleGetFunction(&found, module_, name), "cuModuleGetFunction");
    return found;
  }

 private:
  /// Allowed while a CUDA graph is captured: it puts nothing on a stream.
  EVENKEEL_COLD int load(const std::vector<char>& cubin) {
    int mode = 2;  // relaxed
    driver_.cuThreadExchangeStreamCaptureMode(&mode);
    const int result = driver_.cuModuleLoadData(&module_, cubin.data());
    driver_.cuThreadExchangeStreamCaptureMode(&mode);
    return result;
  }

  const Driver& driver_;
  Driver::Handle module_ = nullptr;  // kept for as long as the process lives
};

/// A kernel and how it is launched.
struct DeviceFunction {
  Driver::Handle function = nullptr;
  unsigned threads = 0;
  unsigned shared_bytes = 0;
  bool launch_early = false;  ///< Does it wait for its predecessor itself?

  /// `argument` is the kernel's only one.
  template <typename Argument>
  void launch(const Driver& driver,
              unsigned blocks,
              Driver::Handle stream,
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
      Driver::Handle stream;
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

}  // namespace evenkeel::detail::cuda
