// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace evenkeel::translation {

/// What `output-change` measures.
struct MeasureOptions {
  std::vector<std::string> schemes;           ///< Names; empty for all of `schemes()`.
  std::vector<int64_t> depths{2, 6, 12, 18};  ///< Encoder layers, two sub-layers each.
  int64_t embed_dim = 256;
  int64_t num_heads = 8;
  int64_t dim_feedforward = 1024;
  int64_t length = 64;  ///< Tokens, random.
  int64_t trials = 4;
  int64_t seeds = 3;  ///< Models of each kind; their median is what counts.
  int64_t threads = 0;
  std::string device = "auto";
};

/// The output change of an untrained encoder at each depth: a JSON object a line, with scheme,
/// encoder_layers, sublayers, mean (median over seeds of the mean over trials) and standard_error,
/// handed to `write` as soon as it is known. The output of a scheme without norms is normalised
/// before it is compared, so that all have the same scale.
void measure_output_change(const MeasureOptions& options,
                           const std::function<void(const std::string& line)>& write);

}  // namespace evenkeel::translation
