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

  /// Number of layers of this stack.
  EVENKEEL_ARG(int64_t, num_layers);
  /// Number of layers of the other stack of an encoder-decoder; some schemes depend on both.
  /// Default: 0, no other stack
  EVENKEEL_ARG(int64_t, other_layers) = 0;
  /// Whether a decoder attends to an encoder's output. Default: true
  EVENKEEL_ARG(bool, cross_attention) = true;
  /// The sub-layers of each layer, in order. Default: empty, which means self-attention,
  /// cross-attention in a decoder that has it, and feed-forward
  EVENKEEL_ARG(std::vector<SublayerKind>, sublayers);
  /// Probability with which a layer is skipped in a forward pass in training mode, each layer for
  /// itself, as in fairseq: the residual stream passes it unchanged. No layer is skipped in
  /// evaluation mode, nor in a pass with a cache or an `Observer`. The default generator of the CPU
  /// chooses, so that a pass cannot be captured as a CUDA graph. Paper: Fan et al. 2019,
  /// https://arxiv.org/abs/1909.11556. Default: 0
  EVENKEEL_ARG(double, layerdrop) = 0.0;
};

}  // namespace evenkeel::nn
