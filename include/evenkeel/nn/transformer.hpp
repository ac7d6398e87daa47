// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/detail/check_options.hpp>
#include <evenkeel/nn/detail/token_inputs.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/positions.hpp>
#include <evenkeel/nn/transformer_options.hpp>
#include <evenkeel/residual/scheme_holder.hpp>

#include <ATen/ATen.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <memory>
#include <utility>

namespace evenkeel::nn {

/// The output of the encoder, which the decoder attends to.
struct EncoderOutput {
  torch::Tensor hidden;  ///< The encoder's output, (B, S, embed_dim).
  AttentionMask mask;    ///< Excludes padding.

  /// Selects the batch rows `index`.
  EncoderOutput select(const torch::Tensor& index) const {
    return {hidden.index_select(0, index), mask.select(index)};
  }
};

/// An encoder-decoder Transformer whose residuals follow a scheme: embeddings times sqrt(embed_dim)
/// plus sinusoidal positions, and logits from the embedding matrix if tied.
/// Shapes: src (B, S) and tgt (B, T) are int64 token ids padded with pad_id, logits
/// (B, T, vocab_size).
/// Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, and the paper of the scheme.
class TransformerImpl : public torch::nn::Cloneable<TransformerImpl> {
 public:
  /// Stacks may be passed, such as those with custom layers: they keep their weights. Otherwise
  /// they are made from the options.
  TransformerImpl(const Scheme& scheme,
                  TransformerOptions options_,
                  Encoder<> encoder_ = nullptr,
                  Decoder<> decoder_ = nullptr)
      : options(std::move(options_)),
        encoder(std::move(encoder_)),
        decoder(std::move(decoder_)),
        scheme_(scheme) {
    options.check();
    positions = SinusoidalPositions(options.embed_dim());
    const auto src_size = options.src_vocab_size();
    src_embedding =
        torch::nn::Embedding(src_size > 0 ? src_size : options.vocab_size(), options.embed_dim());
    tgt_embedding = options.tie_embeddings()
                        ? src_embedding
                        : torch::nn::Embedding(options.vocab_size(), options.embed_dim());
    if (!options.tie_embeddings()) {
      head = torch::nn::Linear(
          torch::nn::LinearOptions(options.embed_dim(), options.vocab_size()).bias(false));
    }
    if (encoder.is_empty()) encoder = Encoder<>(scheme, options.stack(Stack::kEncoder));
    if (decoder.is_empty()) decoder = Decoder<>(scheme, options.stack(Stack::kDecoder));
    detail::check_width("Transformer", encoder->options.embed_dim(), options.embed_dim());
    detail::check_width("Transformer", decoder->options.embed_dim(), options.embed_dim());
    register_all();
    reset_embeddings();
  }

  /// Called by clone() on a member-wise copy, which still shares its children with the original.
  void reset() override {
    using evenkeel::detail::clone_of;
    src_embedding = clone_of(src_embedding);
    tgt_embedding = options.tie_embeddings() ? src_embedding : clone_of(tgt_embedding);
    if (!head.is_empty()) head = clone_of(head);
    encoder = clone_of(encoder);
    decoder = clone_of(decoder);
    positions = clone_of(positions);
    register_all();
  }

  /// Re-initialises everything by the scheme.
  void reset_parameters() {
    encoder->reset_parameters();
    decoder->reset_parameters();
    reset_embeddings();
  }

  /// The logits of the next token at every position.
  torch::Tensor forward(const torch::Tensor& src, const torch::Tensor& tgt) {
    return project(decode(tgt, encode(src)));
  }

  /// The encoder's output for src (B, S).
  EncoderOutput encode(const torch::Tensor& src) {
    const auto tokens = tokens_of(src, /*causal=*/false);
    auto mask = tokens.mask();
    const auto x = embed(tokens, src_embedding, options.src_word_dropout());
    return {encoder->forward(x, mask), mask};
  }

  /// The decoder's output (B, T, embed_dim) for tgt (B, T), which starts with the begin-of-sentence
  /// token. With a cache, tgt holds the tokens that follow the cached ones.
  torch::Tensor decode(const torch::Tensor& tgt,
                       const EncoderOutput& memory,
                       DecoderCache* cache = nullptr) {
    const auto tokens = tokens_of(tgt, /*causal=*/true, cache);
    auto hidden = decoder->forward(embed(tokens, tgt_embedding, options.tgt_word_dropout()),
                                   memory.hidden,
                                   memory.mask,
                                   cache,
                                   AttentionMask::causal() & tokens.mask());
    if (cache != nullptr) cache->padding = tokens.padding;
    return hidden;
  }

  /// The logits (*, vocab_size) of hidden states (*, embed_dim).
  torch::Tensor project(const torch::Tensor& hidden) {
    return torch::linear(hidden,
                         head.is_empty() ? tgt_embedding->weight : head->weight,
                         logits_bias);
  }

  const Scheme& scheme() const { return scheme_; }  ///< The scheme of the residuals.

  TransformerOptions options;                   ///< The options with which this was constructed.
  torch::nn::Embedding src_embedding{nullptr};  ///< (src_vocab_size, embed_dim)
  torch::nn::Embedding tgt_embedding{nullptr};  ///< (vocab_size, embed_dim); the same if tied.
  torch::nn::Linear head{nullptr};              ///< Projection to the vocabulary; empty if tied.
  torch::Tensor logits_bias;                    ///< (vocab_size); undefined if there is none.
  Encoder<> encoder;                            ///< N layers.
  Decoder<> decoder;                            ///< M layers.
  SinusoidalPositions positions{nullptr};       ///< Not saved in checkpoints.

 private:
  void register_all() {
    register_module("src_embedding", src_embedding);
    if (!options.tie_embeddings()) {
      register_module("tgt_embedding", tgt_embedding);
      register_module("head", head);
    }
    if (options.logits_bias()) {
      logits_bias = register_buffer("logits_bias", torch::zeros({options.vocab_size()}));
    }
    register_module("encoder", encoder);
    register_module("decoder", decoder);
    register_module("positions", positions);
  }

  // An embedding that both stacks read counts as the encoder's. The padding token's row is 0.
  void reset_embeddings() {
    const torch::NoGradGuard no_grad;
    if (logits_bias.defined()) logits_bias.zero_();
    Position position;
    position.encoder_layers = options.encoder_layers();
    position.decoder_layers = options.decoder_layers();
    const auto draw = [&](const torch::Tensor& weight, Role role, Stack stack) {
      position.stack = stack;
      evenkeel::detail::draw(weight.detach(), scheme_.draw(role, position));
    };
    draw(src_embedding->weight, Role::kEmbedding, Stack::kEncoder);
    src_embedding->weight[options.pad_id()].zero_();
    if (options.tie_embeddings()) return;
    draw(tgt_embedding->weight, Role::kEmbedding, Stack::kDecoder);
    tgt_embedding->weight[options.pad_id()].zero_();
    draw(head->weight, Role::kHead, Stack::kDecoder);
  }

  detail::Tokens tokens_of(const torch::Tensor& ids,
                           bool causal,
                           const DecoderCache* cache = nullptr) const {
    return detail::tokens_of("Transformer",
                             ids,
                             options.pad_id(),
                             options.padding(),
                             causal,
                             cache,
                             causal && options.starts_with_pad());
  }

  torch::Tensor embed(const detail::Tokens& tokens,
                      torch::nn::Embedding& embedding,
                      double word_dropout) {
    const auto x = detail::embed(tokens,
                                 embedding,
                                 positions,
                                 options.padding(),
                                 is_training() ? word_dropout : 0.0);
    return options.dropout() > 0.0 ? torch::dropout(x, options.dropout(), is_training()) : x;
  }

  Scheme scheme_;
};

/// A holder of `TransformerImpl`; see `SchemeHolder`.
template <typename S = Scheme>
class Transformer : public SchemeHolder<TransformerImpl, TransformerOptions, S> {
 public:
  using SchemeHolder<TransformerImpl, TransformerOptions, S>::SchemeHolder;
};

}  // namespace evenkeel::nn

template <typename S>
struct evenkeel::AnatomyOf<evenkeel::nn::Transformer<S>> {
  static void describe(nn::TransformerImpl& model, AnatomyBuilder& anatomy) {
    anatomy.embedding(model.src_embedding, Stack::kEncoder)
        .embedding(model.tgt_embedding, Stack::kDecoder)
        .encoder(model.encoder->layers)
        .decoder(model.decoder->layers);
    if (!model.head.is_empty()) anatomy.head(model.head);
  }
};
