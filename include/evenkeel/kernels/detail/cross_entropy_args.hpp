// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/shared_code.hpp>

EVENKEEL_SHARED_CODE(
    kCrossEntropyArgsCode,

    // A call of the kernels of the cross-entropy, forward and backward. What a call does not have
    // is null.
    struct CrossEntropyArgs {
      const void* logits;
      const long long* targets;
      float* losses;       // forward: of each row
      float* log_sums;     // log of the sum of exp(logits) of each row; backward reads it
      const float* dloss;  // backward: one number
      void* dlogits;
      long long columns, ignored;
      float smoothing;
    };)
