// SPDX-License-Identifier: MIT
#pragma once

namespace evenkeel::translation {

/// Catches SIGINT and SIGTERM while it lives, so that work can be finished and saved first. A
/// second one ends the program at once.
class StopSignal {
 public:
  StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal();

  /// The signal that came, or 0.
  static int received();
};

}  // namespace evenkeel::translation
