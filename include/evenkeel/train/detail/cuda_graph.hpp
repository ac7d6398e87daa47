// SPDX-License-Identifier: MIT
#pragma once

#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>

// Can CUDA graphs be captured? LibTorch has to be built with CUDA, and CUDA's own headers have to
// be found; pip's packages bring both. A program that links LibTorch's CPU part alone defines it as
// 0.
#ifndef EVENKEEL_CUDA_GRAPHS
#if __has_include(<c10/cuda/impl/cuda_cmake_macros.h>) && __has_include(<cuda_runtime_api.h>)
#define EVENKEEL_CUDA_GRAPHS 1
#else
#define EVENKEEL_CUDA_GRAPHS 0
#endif
#endif

#if EVENKEEL_CUDA_GRAPHS
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#endif

namespace evenkeel::train::detail {

/// A stream of a GPU beside the one in use. What it runs waits for all that was queued before, and
/// what is queued after it waits for that.
class SideStream {
 public:
  explicit SideStream(torch::Device device)
      : guard_(device.type()), stream_(guard_.getStreamFromGlobalPool(device)) {}

  void run(const std::function<void()>& work) const {
    const auto outside = guard_.getStream(stream_.device());
    wait_for(outside, stream_);
    {
      const c10::StreamGuard inside(stream_);
      work();
    }
    wait_for(stream_, outside);
  }

 private:
  static void wait_for(const c10::Stream& first, const c10::Stream& second) {
    c10::Event event(first.device_type());
    event.record(first);
    event.block(second);
  }

  c10::impl::VirtualGuardImpl guard_;
  c10::Stream stream_;
};

#if EVENKEEL_CUDA_GRAPHS

/// Memory that graphs share which never run at once: it is as large as the largest of them needs.
class GraphMemory {
 public:
  explicit GraphMemory(torch::Device device)
      : device_(device.index()), pool_(at::cuda::graph_pool_handle()) {}

  const c10::MempoolId_t& pool() const { return pool_; }

  /// Gives what is cached outside graphs back to the GPU, and returns how much memory of it is in
  /// use, in bytes.
  int64_t in_use() const {
    auto* allocator = c10::cuda::CUDACachingAllocator::get();
    allocator->emptyCache();
    return allocator->getDeviceStats(device_).reserved_bytes[0].current;
  }

 private:
  c10::DeviceIndex device_;
  c10::MempoolId_t pool_;
};

/// What `work` gives to the current stream, captured: it is not run until the first replay().
class CudaGraph {
 public:
  CudaGraph(const GraphMemory& memory, const std::function<void()>& work) {
    // Other threads may allocate meanwhile.
    graph_.capture_begin(memory.pool(), cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      try {
        graph_.capture_end();
      } catch (const std::exception&) {  // the first error says why
      }
      throw;
    }
    graph_.capture_end();
  }

  /// Runs it in the current stream.
  void replay() { graph_.replay(); }

 private:
  at::cuda::CUDAGraph graph_;
};

#else

class GraphMemory {
 public:
  explicit GraphMemory(torch::Device /*device*/) {}
  int64_t in_use() const { return 0; }
};

class CudaGraph {
 public:
  CudaGraph(const GraphMemory& /*memory*/, const std::function<void()>& /*work*/) {
    TORCH_CHECK(false, "GraphedStep: this program is compiled without CUDA graphs");
  }
  void replay() {}
};

#endif

}  // namespace evenkeel::train::detail
