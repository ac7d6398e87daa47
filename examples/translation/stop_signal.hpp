// SPDX-License-Identifier: MIT
#pragma once

namespace evenkeel::translation {

/// Catches SIGINT and SIGTERM during its lifetime, so that work can be saved first. A second signal
/// ends the program at once.
class StopSignal {
 public:
  StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal();

  /// The signal that was received, or 0.
  static int received();
};

}  // namespace evenkeel::translation
