// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <csignal>

namespace evenkeel::examples {

/// Catches SIGINT, SIGTERM and SIGHUP while it lives, so that work can be finished and saved first.
/// A second SIGINT or SIGTERM ends the program at once. SIGHUP stays ignored where it was, as under
/// nohup.
class StopSignal {
 public:
  StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal();

  /// The signal that was received, or 0.
  static int received();

 private:
  static constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP};

  std::array<void (*)(int), kSignals.size()> before_{};
};

}  // namespace evenkeel::examples
