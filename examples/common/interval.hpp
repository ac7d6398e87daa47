// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>

namespace evenkeel::examples {

/// How often something comes: whichever is first. 0 is never.
struct Interval {
  int64_t updates = 0;
  int64_t epochs = 0;
  double minutes = 0.0;
};

/// Tells when it is time for what comes at an interval: at multiples of its updates and epochs, and
/// so many minutes after it came last.
class Recurring {
 public:
  explicit Recurring(const Interval& interval) : interval_(interval) {}

  /// It came now, or what it counts from has changed.
  void begin(int64_t updates, int64_t epochs);

  /// Whether it is time.
  bool due(int64_t updates, int64_t epochs) const;

 private:
  using Clock = std::chrono::steady_clock;

  Interval interval_;
  int64_t updates_ = 0;  // when it began
  int64_t epochs_ = 0;
  Clock::time_point time_ = Clock::now();
};

}  // namespace evenkeel::examples
