// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/shared_code.hpp>

EVENKEEL_SHARED_CODE(
    kArgsCode,

    // A call of a kernel as it is passed on: forward and backward, on the CPU and on CUDA, where
    // this very declaration is compiled into the kernel. What a call does not have is null. On the
    // CPU parameters are float32, and zeros follow them up to a whole vector.
    struct ResidualArgs {
      const void *x, *f_x, *shortcut, *branch, *bias, *norm_weight, *norm_bias;
      void *y, *sum;          // forward: the outputs
      const void *dy, *dsum;  // backward: the gradients of the outputs
      void *dx, *df_x;        // backward: the gradients of the inputs
      // Backward: a row for each block (CUDA) or chunk of rows (CPU), with the sums that become the
      // gradients of the parameters.
      float* sums;
      float* stats;  // of each row, written forward and read backward

      long long rows;
      float eps;
      unsigned inputs_stayed;  // backward: x and f_x lie where forward read them

      // The dropout: of 65536, how many of the 16-bit draws drop an element; the scale of the
      // others.
      unsigned threshold;
      float scale;
      unsigned long long seed;
      unsigned long long* random;  // holds seed (and offset) as used, for backward

      // CUDA alone: the place in the sequence of the generator. In a CUDA graph, seed and offset
      // are addresses that each replay fills.
      unsigned long long offset, offset_in_graph;
      unsigned captured;
    };

    // CUDA alone: which columns of the rows of sums become which gradient.
    struct SumsArgs {
      struct Gradient {
        void* to;
        int columns, type;
      };
      Gradient gradients[5];
      const float* sums;
      int rows, columns;
    };)
