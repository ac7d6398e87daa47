// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdlib>
#include <string>

namespace evenkeel {

namespace detail {

/// The switch of the process.
inline std::atomic<bool>& fused_residual_switch() {
  static std::atomic<bool> on([] {
    const char* value = std::getenv("EVENKEEL_FUSED_RESIDUAL");
    return value == nullptr || std::string(value) != "0";
  }());
  return on;
}

/// What this thread's guard says; none lives where it is null.
inline const bool*& fused_residual_guard() {
  thread_local const bool* on = nullptr;
  return on;
}

}  // namespace detail

/// Returns whether residuals are computed by one kernel where there is one. In this order, the
/// first that says something decides: this thread's innermost `FusedResidualGuard`, the last
/// `set_fused_residual()` of any thread, the environment's `EVENKEEL_FUSED_RESIDUAL=0`. By default
/// they are. The library's other kernels, for attention, biases and the cross-entropy, obey it too.
///
/// A forward pass asks, and its backward does as the forward did, on whatever thread it runs.
inline bool fused_residual_enabled() {
  if (const bool* guard = detail::fused_residual_guard()) return *guard;
  return detail::fused_residual_switch().load(std::memory_order_relaxed);
}

/// Turns fused residuals on or off for all threads that have no guard of their own; forwards that
/// follow see it. Returns what the process's switch was.
inline bool set_fused_residual(bool on) {
  return detail::fused_residual_switch().exchange(on);
}

/// Fused residuals are on, or off, in this thread for as long as this lives. Guards nest, and end
/// in the thread that made them. Other threads do not see it: neither does a forward that is run
/// again by autograd's threads, as for activation checkpoints on a GPU.
class FusedResidualGuard {
 public:
  explicit FusedResidualGuard(bool on) : on_(on), before_(detail::fused_residual_guard()) {
    detail::fused_residual_guard() = &on_;
  }
  ~FusedResidualGuard() { detail::fused_residual_guard() = before_; }
  FusedResidualGuard(const FusedResidualGuard&) = delete;
  FusedResidualGuard& operator=(const FusedResidualGuard&) = delete;

 private:
  const bool on_;
  const bool* const before_;
};

}  // namespace evenkeel
