// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdlib>
#include <string>

namespace evenkeel {

namespace detail {

inline std::atomic<bool>& fused_residual_switch() {
  static std::atomic<bool> on([] {
    const char* value = std::getenv("EVENKEEL_FUSED_RESIDUAL");
    return value == nullptr || std::string(value) != "0";
  }());
  return on;
}

}  // namespace detail

/// Are residuals computed by one kernel where there is one? They are, unless the environment has
/// `EVENKEEL_FUSED_RESIDUAL=0` or `set_fused_residual(false)` was called.
inline bool fused_residual_enabled() {
  return detail::fused_residual_switch().load(std::memory_order_relaxed);
}

/// Turns fused residuals on or off, for all threads; forwards that follow see it. Returns what it
/// was.
inline bool set_fused_residual(bool on) {
  return detail::fused_residual_switch().exchange(on);
}

/// Fused residuals are on, or off, for as long as this lives.
class FusedResidualGuard {
 public:
  explicit FusedResidualGuard(bool on) : before_(set_fused_residual(on)) {}
  ~FusedResidualGuard() { set_fused_residual(before_); }
  FusedResidualGuard(const FusedResidualGuard&) = delete;
  FusedResidualGuard& operator=(const FusedResidualGuard&) = delete;

 private:
  bool before_;
};

}  // namespace evenkeel
