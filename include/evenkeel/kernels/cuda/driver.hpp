// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/nvrtc.hpp>
#include <evenkeel/kernels/cuda/shared_library.hpp>
#include <evenkeel/kernels/detail/platform.hpp>

#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/Exception.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <string>

namespace evenkeel::detail::cuda {

/// A CUDA device is the current one for as long as this lives. Other devices need nothing.
class OnDevice {
 public:
  explicit OnDevice(c10::Device device) : before_(device) {
    if (!device.is_cuda()) return;
    guard_ = c10::impl::getDeviceGuardImpl(device.type());
    before_ = guard_->exchangeDevice(device);
  }
  ~OnDevice() {
    if (guard_ != nullptr) guard_->uncheckedSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  const c10::impl::DeviceGuardImplInterface* guard_ = nullptr;
  c10::Device before_;
};

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
    fail(result, call);
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

  Handle current_stream(c10::Device device) const {
    const auto stream = c10::impl::getDeviceGuardImpl(device.type())->getStream(device);
    return cuda_stream(&stream);
  }

 private:
  [[noreturn]] EVENKEEL_COLD void fail(int result, const char* call) const {
    const char* text = "unknown error";
    cuGetErrorString(result, &text);
    std::string message = "evenkeel: ";
    message.append(call).append(" failed: ").append(text);
    message.append(" (").append(std::to_string(result)).append(")");
    TORCH_CHECK(false, message);
  }

  EVENKEEL_COLD Driver() {
    const SharedLibrary cuda("CUDA's driver", {"libcuda.so.1", "libcuda.so"}, /*load=*/true);
    const SharedLibrary c10_cuda("libc10_cuda.so", {"libc10_cuda.so"}, /*load=*/false);
    const SharedLibrary torch_cuda("libtorch_cuda.so", {"libtorch_cuda.so"}, /*load=*/false);
    std::string missing = Nvrtc::get().missing;
#define EVENKEEL_SYMBOL(name) {#name, &(name)}
    cuda.find({EVENKEEL_SYMBOL(cuGetErrorString),
               EVENKEEL_SYMBOL(cuCtxGetCurrent),
               EVENKEEL_SYMBOL(cuCtxSetCurrent),
               EVENKEEL_SYMBOL(cuDevicePrimaryCtxRetain),
               EVENKEEL_SYMBOL(cuDeviceGetAttribute),
               EVENKEEL_SYMBOL(cuModuleLoadData),
               EVENKEEL_SYMBOL(cuModuleGetFunction),
               EVENKEEL_SYMBOL(cuFuncSetAttribute),
               EVENKEEL_SYMBOL(cuOccupancyMaxActiveBlocksPerMultiprocessor),
               EVENKEEL_SYMBOL(cuLaunchKernel),
               EVENKEEL_SYMBOL(cuThreadExchangeStreamCaptureMode)},
              missing);
    c10_cuda.find({{"_ZNK3c104cuda10CUDAStream6streamEv", &cuda_stream}}, missing);
    std::string may_be_missing;
    cuda.find({EVENKEEL_SYMBOL(cuLaunchKernelEx)}, may_be_missing);
#undef EVENKEEL_SYMBOL
    torch_cuda.find({{"_ZN2at17CUDAGeneratorImpl17philox_cuda_stateEm", &philox_cuda_state}},
                    may_be_missing);
    usable_ = missing.empty();
    if (!usable_) {
      missing.insert(0, "evenkeel: residuals are not fused on CUDA, since ");
      TORCH_WARN(missing.append(" was not found"));
    }
  }

  bool usable_ = false;
};

}  // namespace evenkeel::detail::cuda
