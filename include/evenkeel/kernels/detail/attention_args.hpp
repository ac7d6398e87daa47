// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/head_strides.hpp>
#include <evenkeel/kernels/detail/shared_code.hpp>

EVENKEEL_SHARED_CODE(
    kAttentionArgsCode,

    // A call of the kernels of short attention, forward and backward. What a call does not have is
    // null.
    struct AttentionArgs {
      const void *q, *k, *v, *dy;
      void *y, *dq, *dk, *dv;
      const void* mask;  // what is added to the scores: for each batch row, a number for each key
      long long of_mask;
      HeadStrides of_q, of_k, of_v, of_dy, of_y, of_dq, of_dk, of_dv;
      float scale;
      int heads, queries, keys;
    };)
