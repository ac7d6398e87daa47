// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace evenkeel::examples {

/// Tells how far a run is: one line that is drawn over and over on a terminal, plain lines
/// elsewhere. A stream that cannot be written, since it is closed, full or gone with its terminal,
/// is no error: what is shown is lost, nothing else.
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

  /// Nothing is shown where `stream` is nullptr.
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
  void put(const std::string& text);

  std::FILE* stream_;
  bool on_terminal_;
  bool drawn_ = false;
};

/// `3:07`, `1:02:45`; `?` for what is no time.
std::string clock(double seconds);

}  // namespace evenkeel::examples
