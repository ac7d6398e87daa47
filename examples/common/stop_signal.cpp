// SPDX-License-Identifier: MIT
#include "stop_signal.hpp"

namespace evenkeel::examples {

namespace {

volatile std::sig_atomic_t caught = 0;

void on_signal(int signal) {
  caught = signal;
  // A terminal that goes may say so more than once.
  if (signal != SIGHUP) std::signal(signal, SIG_DFL);
}

}  // namespace

StopSignal::StopSignal() {
  caught = 0;
  for (size_t i = 0; i < kSignals.size(); ++i) {
    before_[i] = std::signal(kSignals[i], on_signal);
    // nohup has SIGHUP ignored: then the run goes on without its terminal.
    if (kSignals[i] == SIGHUP && before_[i] == SIG_IGN) std::signal(SIGHUP, SIG_IGN);
  }
}

StopSignal::~StopSignal() {
  for (size_t i = 0; i < kSignals.size(); ++i) std::signal(kSignals[i], before_[i]);
}

int StopSignal::received() {
  return caught;
}

}  // namespace evenkeel::examples
