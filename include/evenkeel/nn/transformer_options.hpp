// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/nn/layer_options.hpp>
#include <evenkeel/nn/stack_options.hpp>

#include <c10/util/Exception.h>

#include <cstdint>

namespace evenkeel::nn {

/// Options for `Transformer`, e.g. `TransformerOptions().encoder_layers(18).vocab_size(10000)`.
/// dropout is 0.1 by default.
class TransformerOptions : public LayerOptions<TransformerOptions> {
 public:
  using Derived = TransformerOptions;
  TransformerOptions() { dropout(0.1); }

  /// Layers of the encoder, N. Default: 6
  EVENKEEL_ARG(int64_t, encoder_layers) = 6;
  /// Layers of the decoder, M. Default: 6
  EVENKEEL_ARG(int64_t, decoder_layers) = 6;
  /// Tokens of the joint vocabulary; has to be given. Default: 0
  EVENKEEL_ARG(int64_t, vocab_size) = 0;
  /// The token that rows are padded with; no token attends to it. Default: 0
  EVENKEEL_ARG(int64_t, pad_id) = 0;
  /// Where padding stands. Default: on the right
  EVENKEEL_ARG(PaddingSide, padding) = PaddingSide::kRight;
  /// One matrix for source, target and output; else one each. Default: true
  EVENKEEL_ARG(bool, tie_embeddings) = true;

 public:
  /// Throws unless values are in range.
  void check() const {
    check_layer("Transformer");
    TORCH_CHECK(vocab_size_ > 0, "Transformer: expected vocab_size > 0, but got ", vocab_size_);
    TORCH_CHECK(pad_id_ >= 0 && pad_id_ < vocab_size_,
                "Transformer: expected pad_id in [0, ",
                vocab_size_,
                "), but got ",
                pad_id_);
    TORCH_CHECK(embed_dim() % 2 == 0,
                "Transformer: expected an even embed_dim for its sinusoidal positions, but got ",
                embed_dim());
  }

  /// The options of one of its stacks.
  StackOptions stack(Stack stack) const {
    const bool encoder = stack == Stack::kEncoder;
    return StackOptions(encoder ? encoder_layers_ : decoder_layers_,
                        embed_dim(),
                        num_heads(),
                        dim_feedforward())
        .other_layers(encoder ? decoder_layers_ : encoder_layers_)
        .layer_options(*this);
  }
};

}  // namespace evenkeel::nn
