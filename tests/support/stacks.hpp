// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/stack_options.hpp>

#include <cstdint>

namespace evenkeel::test {

/// Layers of 8 features, 2 heads and 12 features between: quick on the CPU.
inline nn::StackOptions small_stack(int64_t num_layers) {
  return {num_layers, 8, 2, 12};
}

}  // namespace evenkeel::test
