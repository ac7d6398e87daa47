// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace evenkeel::translation {

/// Tells how far a run is: one line that is drawn over and over on a terminal, plain lines
/// elsewhere.
class Progress {
 public:
  /// What is shown; `share` is what is done of all, from 0 to 1.
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

  /// Draws the bar anew; nothing where there is no terminal.
  void draw(const State& state);

  /// A line of its own, above the bar.
  void line(const std::string& text);

  /// Takes the bar away.
  void clear();

 private:
  std::FILE* stream_;
  bool on_terminal_;
  bool drawn_ = false;
};

/// `3:07`, `1:02:45`.
std::string clock(double seconds);

}  // namespace evenkeel::translation
