// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/nvrtc.hpp>
#include <evenkeel/kernels/cuda/shared_library.hpp>
#include <evenkeel/kernels/detail/cold.hpp>

#include <c10/core/Stream.h>
#include <c10/util/Exception.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <string>

namespace evenkeel::detail::cuda {

/// What is called of the CUDA driver and of LibTorch's CUDA part.
struct Driver {
  using Handle = void*;

  int (*cuGetErrorString)(int, const char**);
  int (*cuCtxGetCurrent)(Handle*);
  int (*cuCtxSetCurrent)(Handle);
  int (*cuDevicePrimaryCtxRetain)(Handle*, int);
  int (*cuDeviceGetAttribute)(int*, int, int);
  int (*cuModuleLoadData)(Handle*, const void*);
  int (*cuModuleGetFunction)(Handle*, Handle, const char*);
  int (*cuFuncSetAttribute)(Handle, int, int);
  int (*cuOccupancyMaxActiveBlocksPerMultiprocessor)(int*, Handle, int, size_t);
  int (*cuLaunchKernel)(Handle,
                        unsigned,
                        unsigned,
                        unsigned,
                        unsigned,
                        unsigned,
                        unsigned,
                        unsigned,
                        Handle,
                        void**,
                        void**);
  int (*cuThreadExchangeStreamCaptureMode)(int*);
  int (*cuLaunchKernelEx)(const void*, Handle, void**, void**);  ///< Null before CUDA 11.8.
  Handle (*cuda_stream)(const c10::Stream*);  ///< c10::cuda::CUDAStream::stream() const
  Handle philox_cuda_state;                   ///< at::CUDAGeneratorImpl's, or null

  /// Null, after one warning, where something is missing.
  static const Driver* get() {
    static const Driver driver;
    return driver.usable_ ? &driver : nullptr;
  }

  /// Throws what the driver says of an error.
  void check(int result, const char* call) const {
    if (result == 0) return;
    const char* text = "unknown error";
    cuGetErrorString(result, &text);
    TORCH_CHECK(false, "evenkeel: ", call, " failed: ", text, " (", result, ")");
  }

  int attribute(int which, int device) const {
    int value = 0;
    check(cuDeviceGetAttribute(&value, which, device), "cuDeviceGetAttribute");
    return value;
  }

  /// Of the device's multiprocessors, such as 90 for sm_90.
  int architecture(int device) const {
    constexpr int kMajor = 75;
    constexpr int kMinor = 76;
    return 10 * attribute(kMajor, device) + attribute(kMinor, device);
  }

  /// Makes LibTorch's context of that device this thread's: a thread that has not used CUDA yet,
  /// such as one of autograd's, has none.
  void make_context_current(int device) const {
    static std::array<std::atomic<Handle>, 128> contexts{};
    auto& known = contexts.at(static_cast<size_t>(device));
    Handle context = known.load();
    if (context == nullptr) {
      check(cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
      known.store(context);
    }
    Handle current = nullptr;
    check(cuCtxGetCurrent(&current), "cuCtxGetCurrent");
    if (current != context) check(cuCtxSetCurrent(context), "cuCtxSetCurrent");
  }

 private:
  EVENKEEL_COLD Driver() {
    const SharedLibrary cuda("CUDA's driver", {"libcuda.so.1", "libcuda.so"});
    const auto c10_cuda = SharedLibrary::loaded("libc10_cuda.so");
    const auto torch_cuda = SharedLibrary::loaded("libtorch_cuda.so");
    std::string missing = Nvrtc::get().missing;
#define EVENKEEL_FIND(name) cuda.find(name, #name, missing)
    EVENKEEL_FIND(cuGetErrorString);
    EVENKEEL_FIND(cuCtxGetCurrent);
    EVENKEEL_FIND(cuCtxSetCurrent);
    EVENKEEL_FIND(cuDevicePrimaryCtxRetain);
    EVENKEEL_FIND(cuDeviceGetAttribute);
    EVENKEEL_FIND(cuModuleLoadData);
    EVENKEEL_FIND(cuModuleGetFunction);
    EVENKEEL_FIND(cuFuncSetAttribute);
    EVENKEEL_FIND(cuOccupancyMaxActiveBlocksPerMultiprocessor);
    EVENKEEL_FIND(cuLaunchKernel);
    EVENKEEL_FIND(cuThreadExchangeStreamCaptureMode);
#undef EVENKEEL_FIND
    c10_cuda.find(cuda_stream, "_ZNK3c104cuda10CUDAStream6streamEv", missing);
    usable_ = missing.empty();
    if (!usable_) {
      TORCH_WARN("evenkeel: residuals are not fused on CUDA, since ", missing, " was not found");
    }
    std::string may_be_missing;
    cuda.find(cuLaunchKernelEx, "cuLaunchKernelEx", may_be_missing);
    torch_cuda.find(philox_cuda_state,
                    "_ZN2at17CUDAGeneratorImpl17philox_cuda_stateEm",
                    may_be_missing);
  }

  bool usable_ = false;
};

}  // namespace evenkeel::detail::cuda
