// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/positions.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace evenkeel::nn {

/// Options for `Transformer`, e.g. `TransformerOptions().encoder_layers(18).vocab_size(10000)`.
struct TransformerOptions {
  /// Layers of the encoder, N. Default: 6
  TORCH_ARG(int64_t, encoder_layers) = 6;
  /// Layers of the decoder, M. Default: 6
  TORCH_ARG(int64_t, decoder_layers) = 6;
  /// Width of the residual stream. Default: 512
  TORCH_ARG(int64_t, embed_dim) = 512;
  /// Attention heads. Default: 8
  TORCH_ARG(int64_t, num_heads) = 8;
  /// Inner size of the feed-forward sub-layers. Default: 2048
  TORCH_ARG(int64_t, dim_feedforward) = 2048;
  /// Tokens of the joint vocabulary; has to be given. Default: 0
  TORCH_ARG(int64_t, vocab_size) = 0;
  /// The token that fills rows up; nobody attends to it. Default: 0
  TORCH_ARG(int64_t, pad_id) = 0;
  /// One matrix for source, target and output; else one each. Default: true
  TORCH_ARG(bool, tie_embeddings) = true;
  /// Dropout on embeddings and on the output of every branch. Default: 0.1
  TORCH_ARG(double, dropout) = 0.1;
  /// Dropout on the attention weights. Default: 0
  TORCH_ARG(double, attention_dropout) = 0.0;
  /// Dropout after the feed-forward's ReLU. Default: 0
  TORCH_ARG(double, activation_dropout) = 0.0;
};

/// What the decoder reads of the source.
struct Memory {
  torch::Tensor hidden;  ///< The encoder's output, (B, S, embed_dim).
  AttentionMask mask;    ///< Hides padding.

  /// The batch rows `index`.
  Memory select(const torch::Tensor& index) const {
    return {hidden.index_select(0, index), mask.select(index)};
  }
};

/// An encoder-decoder Transformer whose residuals follow `Scheme`: embeddings times sqrt(embed_dim)
/// plus sinusoidal positions, and logits from the embedding matrix when tied.
/// Shapes: src (B, S) and tgt (B, T) are int64 token ids filled up with pad_id, logits
/// (B, T, vocab_size).
/// Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; the scheme's own beside it.
template <typename Scheme>
class TransformerImpl : public torch::nn::Cloneable<TransformerImpl<Scheme>> {
 public:
  explicit TransformerImpl(const TransformerOptions& options_) : options(options_) {
    TORCH_CHECK(options.vocab_size() > 0,
                "Transformer: expected vocab_size > 0, but got ",
                options.vocab_size());
    TORCH_CHECK(options.pad_id() >= 0 && options.pad_id() < options.vocab_size(),
                "Transformer: expected pad_id in [0, ",
                options.vocab_size(),
                "), but got ",
                options.pad_id());
    reset();
  }

  void reset() override {
    const auto embedding = [&] {
      return torch::nn::Embedding(options.vocab_size(), options.embed_dim());
    };
    src_embedding = this->register_module("src_embedding", embedding());
    tgt_embedding = src_embedding;
    if (!options.tie_embeddings()) {
      tgt_embedding = this->register_module("tgt_embedding", embedding());
      head = this->register_module(
          "head",
          torch::nn::Linear(
              torch::nn::LinearOptions(options.embed_dim(), options.vocab_size()).bias(false)));
    }
    encoder = this->register_module("encoder", Encoder<Scheme>(stack(Stack::kEncoder)));
    decoder = this->register_module("decoder", Decoder<Scheme>(stack(Stack::kDecoder)));
    reset_embeddings();
  }

  /// Draws all weights afresh, scaled as the scheme wants them.
  void reset_parameters() {
    encoder->reset_parameters();
    decoder->reset_parameters();
    reset_embeddings();
  }

  /// The logits of every next token.
  torch::Tensor forward(const torch::Tensor& src, const torch::Tensor& tgt) {
    return project(decode(tgt, encode(src)));
  }

  /// The encoder's output for src (B, S).
  Memory encode(const torch::Tensor& src) {
    auto pad = src.eq(options.pad_id());
    // Asking costs nothing on the CPU, and a GPU's queue would have to run dry for it.
    const bool full = pad.device().is_cpu() && !pad.any().template item<bool>();
    const auto mask = full ? AttentionMask() : AttentionMask::padding(pad);
    return {encoder->forward(embed(src, src_embedding, 0), mask), mask};
  }

  /// The decoder's output (B, T, embed_dim) for tgt (B, T), which begins with the token that begins
  /// sentences. With a cache, tgt holds the tokens that follow those in it.
  torch::Tensor decode(const torch::Tensor& tgt,
                       const Memory& memory,
                       DecoderCache* cache = nullptr) {
    const auto first = cache == nullptr ? 0 : cache->length;
    return decoder->forward(embed(tgt, tgt_embedding, first), memory.hidden, memory.mask, cache);
  }

  /// The logits (*, vocab_size) of hidden states (*, embed_dim).
  torch::Tensor project(const torch::Tensor& hidden) {
    return torch::linear(hidden, head.is_empty() ? tgt_embedding->weight : head->weight);
  }

  TransformerOptions options;                   ///< The options with which this was constructed.
  torch::nn::Embedding src_embedding{nullptr};  ///< (vocab_size, embed_dim)
  torch::nn::Embedding tgt_embedding{nullptr};  ///< The same module when tied.
  torch::nn::Linear head{nullptr};              ///< To the vocabulary; empty when tied.
  Encoder<Scheme> encoder{nullptr};             ///< N layers.
  Decoder<Scheme> decoder{nullptr};             ///< M layers.

 private:
  StackOptions stack(Stack kind) const {
    const bool is_encoder = kind == Stack::kEncoder;
    return StackOptions(is_encoder ? options.encoder_layers() : options.decoder_layers(),
                        options.embed_dim(),
                        options.num_heads(),
                        options.dim_feedforward())
        .other_layers(is_encoder ? options.decoder_layers() : options.encoder_layers())
        .dropout(options.dropout())
        .attention_dropout(options.attention_dropout())
        .activation_dropout(options.activation_dropout());
  }

  // N(0, 1/embed_dim) times the scheme's factor, padding 0. One that both read counts as the
  // encoder's.
  void reset_embeddings() {
    const torch::NoGradGuard no_grad;
    Position position;
    position.encoder_layers = options.encoder_layers();
    position.decoder_layers = options.decoder_layers();
    const double deviation = 1.0 / std::sqrt(static_cast<double>(options.embed_dim()));
    for (const auto stack : {Stack::kEncoder, Stack::kDecoder}) {
      if (stack == Stack::kDecoder && options.tie_embeddings()) break;
      position.stack = stack;
      auto& weight = (stack == Stack::kEncoder ? src_embedding : tgt_embedding)->weight;
      weight.normal_(0.0, deviation * scheme::init_factor<Scheme>(Role::kEmbedding, position));
      weight[options.pad_id()].zero_();
    }
    if (!head.is_empty()) head->weight.normal_(0.0, deviation);
  }

  // tokens (B, T) that stand behind `first` others
  torch::Tensor embed(const torch::Tensor& tokens, torch::nn::Embedding& embedding, int64_t first) {
    TORCH_CHECK(tokens.dim() == 2 && tokens.scalar_type() == torch::kInt64,
                "Transformer: expected token ids as int64 of shape [batch, length], but got ",
                tokens.scalar_type(),
                " of shape ",
                tokens.sizes());
    const auto end = first + tokens.size(1);
    const auto& weight = embedding->weight;
    if (!positions_.defined() || positions_.size(0) < end ||
        positions_.device() != weight.device() ||
        positions_.scalar_type() != weight.scalar_type()) {
      positions_ = sinusoidal_positions(std::max<int64_t>(2 * end, 256), options.embed_dim())
                       .to(weight.device(), weight.scalar_type());
    }
    const double scale = std::sqrt(static_cast<double>(options.embed_dim()));
    const auto x = embedding(tokens) * scale + positions_.slice(0, first, end);
    return options.dropout() > 0.0 ? torch::dropout(x, options.dropout(), this->is_training()) : x;
  }

  torch::Tensor positions_;  // no buffer: a function of the options, kept out of checkpoints
};

/// A `ModuleHolder` for `TransformerImpl`: copies of it share one module.
template <typename Scheme>
class Transformer : public torch::nn::ModuleHolder<TransformerImpl<Scheme>> {
 public:
  using torch::nn::ModuleHolder<TransformerImpl<Scheme>>::ModuleHolder;
  using Impl = TransformerImpl<Scheme>;
};

}  // namespace evenkeel::nn

template <typename Scheme>
struct evenkeel::AnatomyOf<evenkeel::nn::Transformer<Scheme>> {
  static void describe(nn::TransformerImpl<Scheme>& model, AnatomyBuilder& anatomy) {
    anatomy.embedding(model.src_embedding, Stack::kEncoder)
        .embedding(model.tgt_embedding, Stack::kDecoder)
        .encoder(model.encoder->layers)
        .decoder(model.decoder->layers);
    if (!model.head.is_empty()) anatomy.head(model.head);
  }
};
