// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/nn/detail/check_options.hpp>
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

  /// Number of encoder layers, N. Default: 6
  EVENKEEL_ARG(int64_t, encoder_layers) = 6;
  /// Number of decoder layers, M. Default: 6
  EVENKEEL_ARG(int64_t, decoder_layers) = 6;
  /// Size of the joint vocabulary, or of the target's; required. Default: 0
  EVENKEEL_ARG(int64_t, vocab_size) = 0;
  /// Size of the source's vocabulary, if it has one of its own; needs tie_embeddings(false).
  /// Default: 0, the same as vocab_size
  EVENKEEL_ARG(int64_t, src_vocab_size) = 0;
  /// The padding token, which no token attends to. Default: 0
  EVENKEEL_ARG(int64_t, pad_id) = 0;
  /// The side of the padding. Default: right
  EVENKEEL_ARG(PaddingSide, padding) = PaddingSide::kRight;
  /// Whether the first token of a target is pad_id, as in the models of Marian. Default: false
  EVENKEEL_ARG(bool, starts_with_pad) = false;
  /// Use one matrix for source, target and output embeddings instead of one each. Default: true
  EVENKEEL_ARG(bool, tie_embeddings) = true;
  /// Whether a buffer `logits_bias` (vocab_size), which is 0 until a checkpoint or an import sets
  /// it, is added to the logits, as in Marian. Default: false
  EVENKEEL_ARG(bool, logits_bias) = false;
  /// Probability with which the whole embedding of a source token is set to 0 in training mode, its
  /// position not, as in Marian; the others are divided by 1 - p. Marian draws a column of the
  /// batch at once, this every token for itself. Default: 0
  EVENKEEL_ARG(double, src_word_dropout) = 0.0;
  /// The same for the tokens of the target. Default: 0
  EVENKEEL_ARG(double, tgt_word_dropout) = 0.0;
  /// `StackOptions::layerdrop` of the encoder. Default: 0
  EVENKEEL_ARG(double, encoder_layerdrop) = 0.0;
  /// The same of the decoder. Default: 0
  EVENKEEL_ARG(double, decoder_layerdrop) = 0.0;

 public:
  /// Throws unless all values are in range.
  void check() const {
    check_layer("Transformer");
    detail::check_probability("Transformer", "src_word_dropout", src_word_dropout_);
    detail::check_probability("Transformer", "tgt_word_dropout", tgt_word_dropout_);
    TORCH_CHECK(vocab_size_ > 0, "Transformer: expected vocab_size > 0, but got ", vocab_size_);
    TORCH_CHECK(pad_id_ >= 0 && pad_id_ < vocab_size_,
                "Transformer: expected pad_id in [0, ",
                vocab_size_,
                "), but got ",
                pad_id_);
    TORCH_CHECK(src_vocab_size_ == 0 || src_vocab_size_ > pad_id_,
                "Transformer: expected src_vocab_size above pad_id ",
                pad_id_,
                ", but got ",
                src_vocab_size_);
    TORCH_CHECK(!tie_embeddings_ || src_vocab_size_ == 0 || src_vocab_size_ == vocab_size_,
                "Transformer: tied embeddings need one vocabulary, but got src_vocab_size ",
                src_vocab_size_,
                " and vocab_size ",
                vocab_size_,
                "; call tie_embeddings(false)");
    TORCH_CHECK(embed_dim() % 2 == 0,
                "Transformer: expected an even embed_dim for its sinusoidal positions, but got ",
                embed_dim());
  }

  /// The options of one of the two stacks.
  StackOptions stack(Stack stack) const {
    const bool encoder = stack == Stack::kEncoder;
    return StackOptions(encoder ? encoder_layers_ : decoder_layers_,
                        embed_dim(),
                        num_heads(),
                        dim_feedforward())
        .other_layers(encoder ? decoder_layers_ : encoder_layers_)
        .layerdrop(encoder ? encoder_layerdrop_ : decoder_layerdrop_)
        .layer_options(*this);
  }
};

}  // namespace evenkeel::nn
