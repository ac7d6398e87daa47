// SPDX-License-Identifier: MIT
#include "progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace evenkeel::examples {

Progress::Progress(std::FILE* stream)
    : stream_(stream), on_terminal_(stream != nullptr && isatty(fileno(stream)) == 1) {}

void Progress::draw(const State& state) {
  if (!on_terminal_) return;
  constexpr int kWidth = 24;
  const int filled = static_cast<int>(std::lround(std::clamp(state.share, 0.0, 1.0) * kWidth));
  std::string bar;
  for (int i = 0; i < kWidth; ++i) bar += i < filled ? "━" : "─";
  put(fmt::format("\r\033[K{} {:3.0f}%  update {}  loss {:.3f}  {:.0f} tokens/s  {} left",
                  bar,
                  100.0 * std::clamp(state.share, 0.0, 1.0),
                  state.step,
                  state.loss,
                  state.tokens_per_second,
                  clock(state.seconds_left)));
  drawn_ = true;
}

void Progress::line(const std::string& text) {
  clear();
  put(text + "\n");
}

void Progress::clear() {
  if (!std::exchange(drawn_, false)) return;
  put("\r\033[K");
}

void Progress::put(const std::string& text) {
  if (stream_ == nullptr) return;
  std::fwrite(text.data(), 1, text.size(), stream_);
  std::fflush(stream_);
  std::clearerr(stream_);
}

std::string clock(double seconds) {
  if (!(seconds >= 0.0 && seconds < 1e12)) return "?";
  const auto total = static_cast<int64_t>(std::llround(seconds));
  return total < 3600 ? fmt::format("{}:{:02}", total / 60, total % 60)
                      : fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
}

}  // namespace evenkeel::examples
