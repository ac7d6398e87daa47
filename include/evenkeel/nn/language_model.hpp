// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/detail/check_options.hpp>
#include <evenkeel/nn/detail/token_inputs.hpp>
#include <evenkeel/nn/layer_options.hpp>
#include <evenkeel/nn/positions.hpp>
#include <evenkeel/residual/scheme_holder.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <memory>
#include <utility>

namespace evenkeel::nn {

/// Options for `LanguageModel`, e.g. `LanguageModelOptions().num_layers(24).vocab_size(10000)`.
/// dropout is 0.1 by default.
class LanguageModelOptions : public LayerOptions<LanguageModelOptions> {
 public:
  using Derived = LanguageModelOptions;
  LanguageModelOptions() { dropout(0.1); }

  /// Number of layers. Default: 6
  EVENKEEL_ARG(int64_t, num_layers) = 6;
  /// Size of the vocabulary; required. Default: 0
  EVENKEEL_ARG(int64_t, vocab_size) = 0;
  /// The padding token, which no token attends to. Default: -1, none
  EVENKEEL_ARG(int64_t, pad_id) = -1;
  /// The side of the padding. Default: right
  EVENKEEL_ARG(PaddingSide, padding) = PaddingSide::kRight;
  /// Use one matrix for input and output embeddings instead of one each. Default: true
  EVENKEEL_ARG(bool, tie_embeddings) = true;
  /// Number of learned positions, of which no text has more: a matrix (learned_positions,
  /// embed_dim), drawn as the scheme has it, is added to the embeddings, as in GPT-2. Default: 0,
  /// sinusoidal positions, which have no end
  EVENKEEL_ARG(int64_t, learned_positions) = 0;
  /// `StackOptions::layerdrop`. Default: 0
  EVENKEEL_ARG(double, layerdrop) = 0.0;

 public:
  /// Throws unless all values are in range.
  void check() const {
    check_layer("LanguageModel");
    TORCH_CHECK(vocab_size_ > 0, "LanguageModel: expected vocab_size > 0, but got ", vocab_size_);
    TORCH_CHECK(pad_id_ >= -1 && pad_id_ < vocab_size_,
                "LanguageModel: expected pad_id in [0, ",
                vocab_size_,
                "), or -1 for none, but got ",
                pad_id_);
    TORCH_CHECK(learned_positions_ >= 0,
                "LanguageModel: expected learned_positions > 0, or 0 for sinusoidal ones, but got ",
                learned_positions_);
    TORCH_CHECK(learned_positions_ > 0 || embed_dim() % 2 == 0,
                "LanguageModel: expected an even embed_dim for its sinusoidal positions, but got ",
                embed_dim());
  }
};

/// A decoder-only Transformer whose residuals follow a scheme: embeddings times sqrt(embed_dim)
/// plus sinusoidal or learned positions, causal layers of self-attention and feed-forward, and
/// logits from the embedding matrix if tied.
/// Shapes: tokens (B, T) are int64 ids, logits (B, T, vocab_size).
/// Paper: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", and
/// the paper of the scheme.
class LanguageModelImpl : public torch::nn::Cloneable<LanguageModelImpl> {
 public:
  /// A stack may be passed, such as one with custom layers: it keeps its weights. Otherwise it is
  /// made from the options.
  LanguageModelImpl(const Scheme& scheme,
                    LanguageModelOptions options_,
                    Decoder<> decoder_ = nullptr)
      : options(std::move(options_)), decoder(std::move(decoder_)), scheme_(scheme) {
    options.check();
    if (options.learned_positions() > 0) {
      position_embedding = torch::nn::Embedding(options.learned_positions(), options.embed_dim());
    } else {
      positions = SinusoidalPositions(options.embed_dim());
    }
    embedding = torch::nn::Embedding(options.vocab_size(), options.embed_dim());
    if (!options.tie_embeddings()) {
      head = torch::nn::Linear(
          torch::nn::LinearOptions(options.embed_dim(), options.vocab_size()).bias(false));
    }
    if (decoder.is_empty()) {
      decoder = Decoder<>(scheme,
                          StackOptions(options.num_layers(),
                                       options.embed_dim(),
                                       options.num_heads(),
                                       options.dim_feedforward())
                              .cross_attention(false)
                              .layerdrop(options.layerdrop())
                              .layer_options(options));
    }
    detail::check_width("LanguageModel", decoder->options.embed_dim(), options.embed_dim());
    register_all();
    reset_embeddings();
  }

  /// Called by clone() on a member-wise copy, which still shares its children with the original.
  void reset() override {
    using evenkeel::detail::clone_of;
    embedding = clone_of(embedding);
    if (!head.is_empty()) head = clone_of(head);
    decoder = clone_of(decoder);
    if (!positions.is_empty()) positions = clone_of(positions);
    if (!position_embedding.is_empty()) position_embedding = clone_of(position_embedding);
    register_all();
  }

  /// Re-initialises everything by the scheme.
  void reset_parameters() {
    decoder->reset_parameters();
    reset_embeddings();
  }

  /// The logits of the next token at every position.
  torch::Tensor forward(const torch::Tensor& tokens) { return project(decode(tokens)); }

  /// The hidden states (B, T, embed_dim) of tokens (B, T), which follow the cached ones if there is
  /// a cache.
  torch::Tensor decode(const torch::Tensor& tokens, DecoderCache* cache = nullptr) {
    const auto read = detail::tokens_of("LanguageModel",
                                        tokens,
                                        options.pad_id(),
                                        options.padding(),
                                        /*causal=*/true,
                                        cache);
    const auto rows =
        [&](int64_t first, int64_t end, const torch::TensorOptions& like) -> torch::Tensor {
      return position_embedding.is_empty() ? positions->forward(first, end, like)
                                           : learned_rows(first, end);
    };
    auto x = detail::embed(read, embedding, rows, options.padding());
    if (options.dropout() > 0.0) x = torch::dropout(x, options.dropout(), is_training());
    auto hidden = decoder->forward(x, {}, {}, cache, AttentionMask::causal() & read.mask());
    if (cache != nullptr) cache->padding = read.padding;
    return hidden;
  }

  /// The logits (*, vocab_size) of hidden states (*, embed_dim).
  torch::Tensor project(const torch::Tensor& hidden) {
    return torch::linear(hidden, head.is_empty() ? embedding->weight : head->weight);
  }

  const Scheme& scheme() const { return scheme_; }  ///< The scheme of the residuals.

  LanguageModelOptions options;             ///< The options with which this was constructed.
  torch::nn::Embedding embedding{nullptr};  ///< (vocab_size, embed_dim)
  torch::nn::Linear head{nullptr};          ///< Projection to the vocabulary; empty if tied.
  Decoder<> decoder;                        ///< The layers.
  SinusoidalPositions positions{nullptr};   ///< Not saved in checkpoints; empty if learned.
  torch::nn::Embedding position_embedding{nullptr};  ///< (learned_positions, embed_dim), or empty.

 private:
  void register_all() {
    register_module("embedding", embedding);
    if (!head.is_empty()) register_module("head", head);
    register_module("decoder", decoder);
    if (!positions.is_empty()) register_module("positions", positions);
    if (!position_embedding.is_empty()) register_module("position_embedding", position_embedding);
  }

  torch::Tensor learned_rows(int64_t first, int64_t end) const {
    TORCH_CHECK(end <= options.learned_positions(),
                "LanguageModel: expected at most ",
                options.learned_positions(),
                " tokens, as there are so many learned positions, but got ",
                end);
    return position_embedding->weight.narrow(0, first, end - first);
  }

  // The padding token's row is 0.
  void reset_embeddings() {
    const torch::NoGradGuard no_grad;
    Position position;
    position.stack = Stack::kDecoder;
    position.decoder_layers = options.num_layers();
    evenkeel::detail::draw(embedding->weight.detach(), scheme_.draw(Role::kEmbedding, position));
    if (options.pad_id() >= 0) embedding->weight[options.pad_id()].zero_();
    if (!position_embedding.is_empty()) {
      evenkeel::detail::draw(position_embedding->weight.detach(),
                             scheme_.draw(Role::kPosition, position));
    }
    if (head.is_empty()) return;
    evenkeel::detail::draw(head->weight.detach(), scheme_.draw(Role::kHead, position));
  }

  Scheme scheme_;
};

/// A holder of `LanguageModelImpl`; see `SchemeHolder`.
template <typename S = Scheme>
class LanguageModel : public SchemeHolder<LanguageModelImpl, LanguageModelOptions, S> {
 public:
  using SchemeHolder<LanguageModelImpl, LanguageModelOptions, S>::SchemeHolder;
};

}  // namespace evenkeel::nn

template <typename S>
struct evenkeel::AnatomyOf<evenkeel::nn::LanguageModel<S>> {
  static void describe(nn::LanguageModelImpl& model, AnatomyBuilder& anatomy) {
    anatomy.embedding(model.embedding, Stack::kDecoder).decoder(model.decoder->layers);
    if (!model.head.is_empty()) anatomy.head(model.head);
    if (!model.position_embedding.is_empty()) anatomy.positions(model.position_embedding);
  }
};
