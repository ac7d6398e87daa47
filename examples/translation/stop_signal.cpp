// SPDX-License-Identifier: MIT
#include "stop_signal.hpp"

#include <csignal>

namespace evenkeel::translation {

namespace {

volatile std::sig_atomic_t caught = 0;

void on_signal(int signal) {
  caught = signal;
  std::signal(signal, SIG_DFL);
}

}  // namespace

StopSignal::StopSignal() {
  caught = 0;
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

StopSignal::~StopSignal() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

int StopSignal::received() {
  return caught;
}

}  // namespace evenkeel::translation
