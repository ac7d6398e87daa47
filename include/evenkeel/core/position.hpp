// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/error.hpp>

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <vector>

namespace evenkeel {

namespace detail {

/// What a position may not have been given. It converts to T; if it was not given, that throws
/// std::invalid_argument, which says what to write.
template <typename T, typename Text>
class Given {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): stands for its value
  constexpr Given(T value) : value_(value) {}
  static constexpr Given not_given() {
    Given given{T{}};
    given.is_given_ = false;
    return given;
  }

  constexpr bool is_given() const { return is_given_; }
  // NOLINTNEXTLINE(google-explicit-constructor): stands for its value
  operator T() const {
    require(is_given_,
            "Position: the scheme depends on ",
            Text::kWhat,
            ", which was not given. In an encoder-decoder, write Position::encoder(encoder_layers, "
            "layer, sublayer).with_decoder(decoder_layers) and Position::decoder(decoder_layers, "
            "layer, sublayer).with_encoder(encoder_layers); in a model with one stack, "
            "Position::encoder_only(num_layers, layer, sublayer) or "
            "Position::decoder_only(num_layers, layer, sublayer)");
    return value_;
  }
  friend T format_as(const Given& given) { return given; }
  friend std::ostream& operator<<(std::ostream& stream, const Given& given) {
    return stream << static_cast<T>(given);
  }

 private:
  T value_;
  bool is_given_ = true;
};

struct DepthText {
  static constexpr const char* kWhat = "the number of layers of a stack";
};
struct PlaceText {
  static constexpr const char* kWhat = "the place of the sub-layer in its stack";
};

}  // namespace detail

/// The number of layers of a stack, 0 if there is no such stack, or not given. It converts to
/// int64_t; if it was not given, that throws std::invalid_argument, which says what to write.
using Depth = detail::Given<int64_t, detail::DepthText>;

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
  /// A kind, or an index or number of sub-layers, that converts like `Depth`.
  using Kind = detail::Given<SublayerKind, detail::PlaceText>;
  using Place = detail::Given<int64_t, detail::PlaceText>;

  /// The first sub-layer of a stack of `num_res_layers`, in which nothing else is known; enough for
  /// Admin. A scheme that reads a depth, layer, kind or sublayer throws std::invalid_argument.
  static Position of(int64_t num_res_layers) {
    Position position;
    position.num_res_layers = num_res_layers;
    position.layer = position.sublayer = position.num_sublayers = Place::not_given();
    position.kind = Kind::not_given();
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

  /// Number of layers of its own stack.
  int64_t num_layers() const { return stack == Stack::kEncoder ? encoder_layers : decoder_layers; }

  Stack stack = Stack::kEncoder;
  Kind kind = SublayerKind::kOther;
  Place layer = 0;             ///< Index of the layer in the stack, from 0.
  Place sublayer = 0;          ///< Index of the sub-layer in its layer, from 0.
  Place num_sublayers = 1;     ///< Number of sub-layers of its layer.
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
    position.sublayer = sublayer;
    position.num_sublayers = in_a_layer;
    position.index = layer * in_a_layer + sublayer;
    position.num_res_layers = num_layers * in_a_layer;
    (stack == Stack::kEncoder ? position.encoder_layers : position.decoder_layers) = num_layers;
    return position;
  }
};

}  // namespace evenkeel
