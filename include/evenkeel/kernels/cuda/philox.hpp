// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/driver.hpp>

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/Device.h>
#include <c10/core/GeneratorImpl.h>

#if __has_include(<ATen/cuda/PhiloxCudaState.h>)
#include <ATen/cuda/PhiloxCudaState.h>
#define EVENKEEL_HAS_PHILOX_STATE 1
#else
#define EVENKEEL_HAS_PHILOX_STATE 0
#endif

#include <cstdint>
#include <mutex>

namespace evenkeel::detail::cuda {

/// What the device's generator gives to one kernel. Where a CUDA graph is captured, seed and offset
/// are addresses that each replay fills anew.
struct PhiloxDraw {
  uint64_t seed = 0;
  uint64_t offset = 0;
  uint64_t offset_in_graph = 0;
  bool captured = false;
  at::Tensor holder;  ///< Keeps what the addresses point to.
};

/// Draws from the default generator of `device`, as LibTorch's own kernels do.
inline PhiloxDraw draw_philox([[maybe_unused]] const Driver& driver, c10::Device device) {
  PhiloxDraw draw;
#if EVENKEEL_HAS_PHILOX_STATE
  if (driver.philox_cuda_state != nullptr) {
    using Function = at::PhiloxCudaState (*)(c10::GeneratorImpl*, uint64_t);
    const auto next = reinterpret_cast<Function>(driver.philox_cuda_state);
    auto* generator = at::globalContext().defaultGenerator(device).unsafeGetGeneratorImpl();
    const std::lock_guard<std::mutex> lock(generator->mutex_);
    const auto state = next(generator, 4);
    draw.captured = state.captured_;
    if (draw.captured) {
      draw.seed = reinterpret_cast<uint64_t>(state.seed_.ptr);
      draw.offset = reinterpret_cast<uint64_t>(state.offset_.ptr);
      draw.offset_in_graph = state.offset_intragraph_;
    } else {
      draw.seed = state.seed_.val;
      draw.offset = state.offset_.val;
    }
    return draw;
  }
#endif
  // A kernel more, with the same effect.
  draw.holder = at::empty({2}, at::TensorOptions().device(device).dtype(at::kLong)).random_();
  draw.captured = true;
  draw.seed = reinterpret_cast<uint64_t>(draw.holder.const_data_ptr());
  draw.offset = draw.seed + sizeof(int64_t);
  return draw;
}

}  // namespace evenkeel::detail::cuda
