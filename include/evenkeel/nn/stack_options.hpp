// SPDX-License-Identifier: MIT
#pragma once

#include <c10/util/Exception.h>
#include <torch/arg.h>

#include <cstdint>

namespace evenkeel::nn {

/// Options for a stack, `Encoder` or `Decoder`, e.g.
/// `StackOptions(18, 512, 8, 2048).dropout(0.1)`: 18 layers, embed_dim 512, 8 heads.
struct StackOptions {
  StackOptions(int64_t num_layers, int64_t embed_dim, int64_t num_heads, int64_t dim_feedforward)
      : num_layers_(num_layers),
        embed_dim_(embed_dim),
        num_heads_(num_heads),
        dim_feedforward_(dim_feedforward) {}

  /// Layers of this stack.
  TORCH_ARG(int64_t, num_layers);
  /// Width of the residual stream.
  TORCH_ARG(int64_t, embed_dim);
  /// Attention heads.
  TORCH_ARG(int64_t, num_heads);
  /// Inner size of the feed-forward sub-layers.
  TORCH_ARG(int64_t, dim_feedforward);
  /// Layers of the other stack of an encoder-decoder; some schemes' gains depend on both.
  /// Default: 0, there is none
  TORCH_ARG(int64_t, other_layers) = 0;
  /// Whether a decoder attends to an encoder's output. Default: true
  TORCH_ARG(bool, cross_attention) = true;
  /// Dropout on the output of every branch. Default: 0
  TORCH_ARG(double, dropout) = 0.0;
  /// Dropout on the attention weights. Default: 0
  TORCH_ARG(double, attention_dropout) = 0.0;
  /// Dropout after the feed-forward's ReLU. Default: 0
  TORCH_ARG(double, activation_dropout) = 0.0;
};

}  // namespace evenkeel::nn
