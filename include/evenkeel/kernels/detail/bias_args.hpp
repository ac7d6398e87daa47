// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/shared_code.hpp>

EVENKEEL_SHARED_CODE(
    kBiasArgsCode,

    // A call of the kernel of a bias's gradient. What a call does not have is null.
    struct BiasArgs {
      const void* dy;
      const void* y;  // what the activation gave
      void* dz;       // the gradient ahead of the activation
      float* sums;    // of each block, by column
      long long rows;
    };)
