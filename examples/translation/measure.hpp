// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// Options for `measure_output_change`.
struct MeasureOptions {
  std::vector<std::string> schemes;  ///< Names; empty for all of `schemes()`.
  /// encoder; decoder, a decoder alone; or both, an encoder-decoder of equal depths.
  std::string model = "encoder";
  std::vector<int64_t> depths{2, 6, 12, 18};  ///< Layers of each stack.
  int64_t embed_dim = 256;
  int64_t num_heads = 8;
  int64_t dim_feedforward = 1024;
  int64_t length = 64;  ///< Number of random tokens.
  int64_t trials = 4;
  int64_t seeds = 3;  ///< Models of each kind; their median is reported.
  int64_t threads = 0;
  std::string device = "auto";
};

/// Measures the output change of an untrained model at each depth. Calls `write` with one JSON
/// object for each as soon as it is measured: scheme, model, layers, sublayers (of all stacks),
/// mean (median over seeds of the mean over trials) and standard_error. The output of a scheme
/// without norms is normalised first, so that all have the same scale. A scheme that is profiled is
/// profiled on the input.
void measure_output_change(const MeasureOptions& options,
                           const std::function<void(const std::string& line)>& write);

}  // namespace evenkeel::examples::translation
