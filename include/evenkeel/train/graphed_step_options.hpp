// SPDX-License-Identifier: MIT
#pragma once

#include <torch/arg.h>

#include <cstdint>

namespace evenkeel::train {

/// Options for `GraphedStep`.
struct GraphedStepOptions {
  /// Whether steps on a GPU are captured as CUDA graphs. Without, each kernel is launched by the
  /// host; the numbers are the same. Default: true
  TORCH_ARG(bool, graphs) = true;
  /// Most memory that graphs may hold, in bytes; 0: all there is. Those that were used least
  /// recently are dropped, and captured again when their shape comes again. Default: 0
  TORCH_ARG(int64_t, memory_limit) = 0;
};

}  // namespace evenkeel::train
