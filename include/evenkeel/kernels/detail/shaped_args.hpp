// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/head_strides.hpp>
#include <evenkeel/kernels/detail/shared_code.hpp>

EVENKEEL_SHARED_CODE(
    kShapedArgsCode,

    // A call of the kernels of shaped attention's sum, forward and backward. What a call does not
    // have is null.
    struct ShapedArgs {
      const void *a, *v, *dy;
      void* y;  // backward: the gradient of v
      const void *alpha, *beta, *gamma;
      // Backward: for each batch row, the gradients of alpha, beta and gamma of each head.
      float* sums;
      HeadStrides of_a, of_v, of_dy, of_y;
      int heads, length;
    };)
