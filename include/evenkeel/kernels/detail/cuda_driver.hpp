// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/Context.h>
#include <c10/core/Stream.h>
#include <c10/util/Exception.h>

#include <dlfcn.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <type_traits>

namespace evenkeel::detail {

/// What is called of NVRTC, of the CUDA driver and of LibTorch's CUDA part, found when the program
/// runs: neither CUDA's headers nor any library is needed to build or to start it.
struct CudaDriver {
  using Handle = void*;

  int (*nvrtcVersion)(int*, int*);
  int (*nvrtcCreateProgram)(
      Handle*, const char*, const char*, int, const char* const*, const char* const*);
  int (*nvrtcCompileProgram)(Handle, int, const char* const*);
  int (*nvrtcGetCUBINSize)(Handle, size_t*);
  int (*nvrtcGetCUBIN)(Handle, char*);
  int (*nvrtcGetProgramLogSize)(Handle, size_t*);
  int (*nvrtcGetProgramLog)(Handle, char*);
  int (*nvrtcDestroyProgram)(Handle*);

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
  static const CudaDriver* get() {
    static const CudaDriver driver;
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
  CudaDriver() {
    const auto nvrtc = first_of({"libcaffe2_nvrtc.so",
                                 beside_torch("libcaffe2_nvrtc.so"),
                                 "libnvrtc.so.13",
                                 "libnvrtc.so.12",
                                 "libnvrtc.so"});
    const auto cuda = first_of({"libcuda.so.1", "libcuda.so"});
    const auto c10_cuda = loaded("libc10_cuda.so");
    const auto torch_cuda = loaded("libtorch_cuda.so");
    std::string missing;
    const auto find = [&](auto& function, const char* name, Handle library) {
      void* found = library == nullptr ? nullptr : dlsym(library, name);
      function = reinterpret_cast<std::decay_t<decltype(function)>>(found);
      if (found == nullptr && missing.empty()) missing = name;
    };
#define EVENKEEL_FIND(name, library) find(name, #name, library)
    EVENKEEL_FIND(nvrtcVersion, nvrtc);
    EVENKEEL_FIND(nvrtcCreateProgram, nvrtc);
    EVENKEEL_FIND(nvrtcCompileProgram, nvrtc);
    EVENKEEL_FIND(nvrtcGetCUBINSize, nvrtc);
    EVENKEEL_FIND(nvrtcGetCUBIN, nvrtc);
    EVENKEEL_FIND(nvrtcGetProgramLogSize, nvrtc);
    EVENKEEL_FIND(nvrtcGetProgramLog, nvrtc);
    EVENKEEL_FIND(nvrtcDestroyProgram, nvrtc);
    EVENKEEL_FIND(cuGetErrorString, cuda);
    EVENKEEL_FIND(cuCtxGetCurrent, cuda);
    EVENKEEL_FIND(cuCtxSetCurrent, cuda);
    EVENKEEL_FIND(cuDevicePrimaryCtxRetain, cuda);
    EVENKEEL_FIND(cuDeviceGetAttribute, cuda);
    EVENKEEL_FIND(cuModuleLoadData, cuda);
    EVENKEEL_FIND(cuModuleGetFunction, cuda);
    EVENKEEL_FIND(cuFuncSetAttribute, cuda);
    EVENKEEL_FIND(cuOccupancyMaxActiveBlocksPerMultiprocessor, cuda);
    EVENKEEL_FIND(cuLaunchKernel, cuda);
    EVENKEEL_FIND(cuThreadExchangeStreamCaptureMode, cuda);
    find(cuda_stream, "_ZNK3c104cuda10CUDAStream6streamEv", c10_cuda);
    usable_ = missing.empty();
    EVENKEEL_FIND(cuLaunchKernelEx, cuda);
    find(philox_cuda_state, "_ZN2at17CUDAGeneratorImpl17philox_cuda_stateEm", torch_cuda);
#undef EVENKEEL_FIND
    if (!usable_) {
      TORCH_WARN("evenkeel: residuals are not fused on CUDA, since ",
                 missing,
                 " was not found in NVRTC, the driver or LibTorch");
    }
  }

  static Handle first_of(std::initializer_list<std::string> names) {
    for (const auto& name : names) {
      if (const auto library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    }
    return nullptr;
  }

  static Handle loaded(const char* name) {
    if (const auto library = dlopen(name, RTLD_NOW | RTLD_NOLOAD)) return library;
    return dlopen(beside_torch(name).c_str(), RTLD_NOW | RTLD_NOLOAD);
  }

  /// The path of a library in LibTorch's own folder.
  static std::string beside_torch(const std::string& name) {
    Dl_info torch{};
    if (dladdr(reinterpret_cast<const void*>(&at::globalContext), &torch) == 0) return name;
    const std::string path = torch.dli_fname;
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? name : path.substr(0, slash + 1) + name;
  }

  bool usable_ = false;
};

}  // namespace evenkeel::detail
