// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/nn/layer_options.hpp>

#include <cstdint>
#include <vector>

namespace evenkeel::nn {

/// Options for a stack, `Encoder` or `Decoder`, e.g.
/// `StackOptions(18, 512, 8, 2048).dropout(0.1)`: 18 layers, embed_dim 512, 8 heads.
class StackOptions : public LayerOptions<StackOptions> {
 public:
  using Derived = StackOptions;
  StackOptions(int64_t num_layers, int64_t embed_dim, int64_t num_heads, int64_t dim_feedforward)
      : num_layers_(num_layers) {
    this->embed_dim(embed_dim).num_heads(num_heads).dim_feedforward(dim_feedforward);
  }

  /// Layers of this stack.
  EVENKEEL_ARG(int64_t, num_layers);
  /// Layers of the other stack of an encoder-decoder; some schemes' gains depend on both.
  /// Default: 0, there is none
  EVENKEEL_ARG(int64_t, other_layers) = 0;
  /// Whether a decoder attends to an encoder's output. Default: true
  EVENKEEL_ARG(bool, cross_attention) = true;
  /// The sub-layers of each layer, in order. Default: empty, attention (in a decoder to itself,
  /// then to the encoder's output) and feed-forward
  EVENKEEL_ARG(std::vector<SublayerKind>, sublayers);
};

}  // namespace evenkeel::nn
