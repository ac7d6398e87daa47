// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/cubin_store.hpp>
#include <evenkeel/kernels/cuda/driver.hpp>
#include <evenkeel/kernels/cuda/nvrtc.hpp>
#include <evenkeel/kernels/detail/platform.hpp>

#include <string>

namespace evenkeel::detail::cuda {

/// Under what name the disk keeps what that version of NVRTC makes of the source.
EVENKEEL_COLD inline std::string cubin_name(const Nvrtc& nvrtc,
                                            const std::string& source,
                                            int architecture) {
  int numbers[] = {architecture, 0, 0};
  nvrtc.nvrtcVersion(&numbers[1], &numbers[2]);
  std::string everything = source;
  for (const int number : numbers) everything.append(" ").append(std::to_string(number));
  return CubinStore::name_of(everything);
}

/// Compiled code on one device.
class Module {
 public:
  EVENKEEL_COLD Module(const Driver& driver, const std::string& source, int architecture)
      : driver_(driver) {
    static const CubinStore store;
    const auto& nvrtc = Nvrtc::get();
    const auto name = cubin_name(nvrtc, source, architecture);
    auto cubin = store.read(name);
    if (!cubin.empty() && load(cubin) == 0) return;
    cubin = nvrtc.cubin(source, architecture);
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
  EVENKEEL_COLD int load(const std::string& cubin) {
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

  /// `argument` points to the kernel's only one.
  void launch(const Driver& driver, unsigned blocks, Driver::Handle stream, void* argument) const {
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
                                         &argument,
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
    driver.check(driver.cuLaunchKernelEx(&config, function, &argument, nullptr),
                 "cuLaunchKernelEx");
  }
};

}  // namespace evenkeel::detail::cuda
