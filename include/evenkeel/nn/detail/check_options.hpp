// SPDX-License-Identifier: MIT
#pragma once

#include <c10/util/Exception.h>

#include <cstdint>

namespace evenkeel::nn::detail {

/// Throws unless a dropout probability is in [0, 1); NaN is not.
inline void check_probability(const char* module, const char* name, double value) {
  TORCH_CHECK(value >= 0.0 && value < 1.0,
              module,
              ": expected ",
              name,
              " in [0, 1), but got ",
              value);
}

/// Throws unless a stack that a model was given has the model's width.
inline void check_width(const char* model, int64_t stack, int64_t embed_dim) {
  TORCH_CHECK(stack == embed_dim,
              model,
              ": expected a stack of embed_dim ",
              embed_dim,
              ", but got ",
              stack);
}

}  // namespace evenkeel::nn::detail
