// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/error.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace evenkeel {

/// The number of layers of a stack, 0 if there is no such stack, or not given. It converts to
/// int64_t; if it was not given, that throws std::invalid_argument, which says what to write.
class Depth {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a depth is a number
  constexpr Depth(int64_t layers) : layers_(layers) {}
  static constexpr Depth not_given() { return -1; }

  constexpr bool is_given() const { return layers_ >= 0; }
  // NOLINTNEXTLINE(google-explicit-constructor): a depth is a number
  operator int64_t() const {
    detail::require(
        is_given(),
        "Position: the scheme depends on the number of layers of a stack, which was not given. In "
        "an encoder-decoder, write Position::encoder(encoder_layers, layer, sublayer)"
        ".with_decoder(decoder_layers) and Position::decoder(decoder_layers, layer, sublayer)"
        ".with_encoder(encoder_layers); in a model with one stack, "
        "Position::encoder_only(num_layers, layer, sublayer) or Position::decoder_only(num_layers, "
        "layer, sublayer)");
    return layers_;
  }
  friend int64_t format_as(const Depth& depth) { return depth; }

 private:
  int64_t layers_;
};

/// The position of a residual sub-layer in a model: its index and kind, its layer and stack, and
/// the depths of both stacks. In a block of your own:
///
///     Position::encoder(encoder_layers, layer, /*sublayer=*/0).with_decoder(decoder_layers)
///     Position::decoder(decoder_layers, layer, /*sublayer=*/1).with_encoder(encoder_layers)
///     Position::decoder_only(num_layers, layer, /*sublayer=*/1)
///
/// `layer` counts from 0 in its stack, `sublayer` from 0 in its layer. The kinds of a layer's
/// sub-layers, and so their number, are those of a standard Transformer unless they are passed.
struct Position {
  /// The kinds of the sub-layers of one layer, in forward order.
  using Kinds = std::vector<SublayerKind>;

  /// The first sub-layer of a stack of `num_res_layers`, in which nothing else is known; enough for
  /// Admin. A scheme that reads a depth throws, one that reads layer or kind needs another call.
  static Position of(int64_t num_res_layers) {
    Position position;
    position.num_res_layers = num_res_layers;
    position.encoder_layers = position.decoder_layers = Depth::not_given();
    return position;
  }

  /// A sub-layer of the encoder of an encoder-decoder, whose other depth `with_decoder` gives.
  /// This and the next three throw std::invalid_argument if layer or sublayer is out of range.
  static Position encoder(int64_t num_layers,
                          int64_t layer,
                          int64_t sublayer,
                          const Kinds& kinds = {SublayerKind::kSelfAttention,
                                                SublayerKind::kFeedForward}) {
    auto position = in_stack(Stack::kEncoder, num_layers, layer, sublayer, kinds);
    position.decoder_layers = Depth::not_given();
    return position;
  }
  /// A sub-layer of the decoder of an encoder-decoder, whose other depth `with_encoder` gives.
  static Position decoder(int64_t num_layers,
                          int64_t layer,
                          int64_t sublayer,
                          const Kinds& kinds = {SublayerKind::kSelfAttention,
                                                SublayerKind::kCrossAttention,
                                                SublayerKind::kFeedForward}) {
    auto position = in_stack(Stack::kDecoder, num_layers, layer, sublayer, kinds);
    position.encoder_layers = Depth::not_given();
    return position;
  }
  /// A sub-layer of a model that is an encoder alone.
  static Position encoder_only(int64_t num_layers,
                               int64_t layer,
                               int64_t sublayer,
                               const Kinds& kinds = {SublayerKind::kSelfAttention,
                                                     SublayerKind::kFeedForward}) {
    return in_stack(Stack::kEncoder, num_layers, layer, sublayer, kinds);
  }
  /// A sub-layer of a model that is a decoder alone, without cross-attention.
  static Position decoder_only(int64_t num_layers,
                               int64_t layer,
                               int64_t sublayer,
                               const Kinds& kinds = {SublayerKind::kSelfAttention,
                                                     SublayerKind::kFeedForward}) {
    return in_stack(Stack::kDecoder, num_layers, layer, sublayer, kinds);
  }

  /// The same position in an encoder of a model with a decoder of `layers` layers.
  Position with_decoder(int64_t layers) const {
    detail::require(stack == Stack::kEncoder && layers >= 1,
                    "Position: expected with_decoder(layers) with layers >= 1, of an encoder's "
                    "position, but got ",
                    layers,
                    ", of a position in the ",
                    to_string(stack));
    auto position = *this;
    position.decoder_layers = layers;
    return position;
  }
  /// The same position in a decoder of a model with an encoder of `layers` layers.
  Position with_encoder(int64_t layers) const {
    detail::require(stack == Stack::kDecoder && layers >= 1,
                    "Position: expected with_encoder(layers) with layers >= 1, of a decoder's "
                    "position, but got ",
                    layers,
                    ", of a position in the ",
                    to_string(stack));
    auto position = *this;
    position.encoder_layers = layers;
    return position;
  }

  Stack stack = Stack::kEncoder;
  SublayerKind kind = SublayerKind::kOther;
  int64_t layer = 0;           ///< Index of the layer in the stack, from 0.
  int64_t index = 0;           ///< Index of the sub-layer in the stack, from 0, in forward order.
  int64_t num_res_layers = 0;  ///< Number of residual sub-layers of this stack.
  Depth encoder_layers = 0;    ///< Layers of the encoder; 0 if there is none.
  Depth decoder_layers = 0;    ///< Layers of the decoder; 0 if there is none.

 private:
  static Position in_stack(
      Stack stack, int64_t num_layers, int64_t layer, int64_t sublayer, const Kinds& kinds) {
    const auto in_a_layer = static_cast<int64_t>(kinds.size());
    detail::require(layer >= 0 && layer < num_layers,
                    "Position: expected layer in [0, ",
                    num_layers,
                    "), as the ",
                    to_string(stack),
                    " has ",
                    num_layers,
                    " layers, but got ",
                    layer);
    detail::require(sublayer >= 0 && sublayer < in_a_layer,
                    "Position: expected sublayer in [0, ",
                    in_a_layer,
                    "), as a layer of the ",
                    to_string(stack),
                    " has ",
                    in_a_layer,
                    " sub-layers, but got ",
                    sublayer);
    Position position;
    position.stack = stack;
    position.kind = kinds[static_cast<size_t>(sublayer)];
    position.layer = layer;
    position.index = layer * in_a_layer + sublayer;
    position.num_res_layers = num_layers * in_a_layer;
    (stack == Stack::kEncoder ? position.encoder_layers : position.decoder_layers) = num_layers;
    return position;
  }
};

}  // namespace evenkeel
