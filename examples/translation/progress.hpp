// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace evenkeel::translation {

/// Shows the progress of a run: a bar that is updated on a terminal, and plain lines.
class Progress {
 public:
  /// The values that are shown; `share` is the completed part, from 0 to 1.
  struct State {
    double share;
    int64_t step;
    double loss;
    double tokens_per_second;
    double seconds_left;
  };

  explicit Progress(std::FILE* stream);

  /// Whether the stream is a terminal.
  bool on_terminal() const { return on_terminal_; }

  /// Redraws the bar; does nothing without a terminal.
  void draw(const State& state);

  /// Prints a line above the bar.
  void line(const std::string& text);

  /// Removes the bar.
  void clear();

 private:
  std::FILE* stream_;
  bool on_terminal_;
  bool drawn_ = false;
};

/// Formats a time as `3:07` or `1:02:45`.
std::string clock(double seconds);

}  // namespace evenkeel::translation
