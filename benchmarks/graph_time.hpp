// SPDX-License-Identifier: MIT
#pragma once

#include "median.hpp"

#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <torch/cuda.h>

#include <vector>

/// Microseconds on the GPU of `work`, which returns tensors: the median of replays of a CUDA graph.
/// The current stream is not the default one.
template <typename F>
double graph_time(int warmups, int replays, const F& work) {
  const auto stream = at::cuda::getCurrentCUDAStream();
  for (int i = 0; i < warmups; ++i) work();
  torch::cuda::synchronize();
  at::cuda::CUDAGraph graph;
  graph.capture_begin();
  const auto keep = work();
  graph.capture_end();
  std::vector<double> times;
  for (int i = 0; i < replays + 3; ++i) {
    at::cuda::CUDAEvent begin(0), end(0);  // flags: with timing
    begin.record(stream);
    graph.replay();
    end.record(stream);
    end.synchronize();
    if (i >= 3) times.push_back(1e3 * begin.elapsed_time(end));
  }
  return median(times);
}
