// SPDX-License-Identifier: MIT
#include "dry_run.hpp"

#include "model_values.hpp"

#include <fmt/format.h>

#include <chrono>
#include <vector>

namespace evenkeel::examples {

void dry_run(BatchSource& source,
             UpdateStep& step,
             int64_t accumulate,
             int64_t batches,
             Progress& progress) {
  using Clock = std::chrono::steady_clock;
  constexpr int kTimed = 3;
  step.model().train();
  int64_t tokens = 0;
  Clock::time_point began;
  for (int i = 0; i <= kTimed; ++i) {
    if (i == 1) began = Clock::now();  // the first one allocates
    std::vector<std::vector<int64_t>> update;
    for (int64_t k = 0; k < accumulate; ++k) update.push_back(source.next());
    const auto seen = step.update(update);
    if (i > 0) tokens += seen;
    step.window_loss();  // waits for the device
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count() / kTimed;
  const auto updates = (batches + accumulate - 1) / accumulate;
  progress.line(fmt::format("an update takes {:.0f} ms, {:.0f} tokens/s",
                            1e3 * seconds,
                            static_cast<double>(tokens) / kTimed / seconds));
  progress.line(fmt::format("an epoch of {} updates takes about {}",
                            updates,
                            clock(seconds * static_cast<double>(updates))));
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  const auto of_gpu = peak_gpu_memory(step.device());
  progress.line(fmt::format(
      "memory: {:.2f} GiB of the process{}",
      static_cast<double>(peak_memory()) / kGiB,
      of_gpu ? fmt::format(", {:.2f} GiB of the GPU", static_cast<double>(*of_gpu) / kGiB)
      : step.device().is_cuda() ? ", beside that of the GPU"
                                : ""));
}

}  // namespace evenkeel::examples
