// SPDX-License-Identifier: MIT
#include <evenkeel/core/position.hpp>

#include <evenkeel/core/depth_factors.hpp>

#include "errors.hpp"

#include <gtest/gtest.h>

#include <sstream>
#include <stdexcept>

namespace evenkeel {
namespace {

using test::throws;
using Error = std::invalid_argument;

TEST(PositionTest, CountsTheTwoSublayersOfAnEncoderLayer) {
  const auto position = Position::encoder(18, /*layer=*/4, /*sublayer=*/1).with_decoder(6);
  EXPECT_EQ(position.stack, Stack::kEncoder);
  EXPECT_EQ(position.kind, SublayerKind::kFeedForward);
  EXPECT_EQ(position.layer, 4);
  EXPECT_EQ(position.index, 9);
  EXPECT_EQ(position.num_res_layers, 36);
  EXPECT_EQ(position.encoder_layers, 18);
  EXPECT_EQ(position.decoder_layers, 6);
  EXPECT_EQ(Position::encoder(18, 4, 0).kind, SublayerKind::kSelfAttention);
}

TEST(PositionTest, CountsTheThreeSublayersOfADecoderLayer) {
  const auto position = Position::decoder(6, /*layer=*/5, /*sublayer=*/1).with_encoder(18);
  EXPECT_EQ(position.stack, Stack::kDecoder);
  EXPECT_EQ(position.kind, SublayerKind::kCrossAttention);
  EXPECT_EQ(position.layer, 5);
  EXPECT_EQ(position.index, 16);
  EXPECT_EQ(position.num_res_layers, 18);
  EXPECT_EQ(position.encoder_layers, 18);
  EXPECT_EQ(position.decoder_layers, 6);
  EXPECT_EQ(Position::decoder(6, 5, 0).kind, SublayerKind::kSelfAttention);
  EXPECT_EQ(Position::decoder(6, 5, 2).kind, SublayerKind::kFeedForward);
}

TEST(PositionTest, OfASingleStackHasNoOther) {
  const auto encoder = Position::encoder_only(12, 11, 1);
  EXPECT_EQ(encoder.stack, Stack::kEncoder);
  EXPECT_EQ(encoder.encoder_layers, 12);
  EXPECT_EQ(encoder.decoder_layers, 0);
  const auto decoder = Position::decoder_only(12, 11, 1);
  EXPECT_EQ(decoder.stack, Stack::kDecoder);
  EXPECT_EQ(decoder.kind, SublayerKind::kFeedForward);
  EXPECT_EQ(decoder.index, 23);
  EXPECT_EQ(decoder.num_res_layers, 24);
  EXPECT_EQ(decoder.encoder_layers, 0);
  EXPECT_EQ(decoder.decoder_layers, 12);
}

TEST(PositionTest, TakesTheKindsOfALayerOfOnesOwn) {
  const Position::Kinds sandwich{SublayerKind::kFeedForward,
                                 SublayerKind::kSelfAttention,
                                 SublayerKind::kFeedForward};
  const auto position = Position::encoder_only(6, 2, 1, sandwich);
  EXPECT_EQ(position.kind, SublayerKind::kSelfAttention);
  EXPECT_EQ(position.index, 7);
  EXPECT_EQ(position.num_res_layers, 18);
}

TEST(PositionTest, ThrowsForADepthThatWasNotGiven) {
  for (const auto& position : {Position::of(36), Position::encoder(18, 0, 0)}) {
    EXPECT_FALSE(position.decoder_layers.is_given());
    EXPECT_TRUE(throws<Error>([&] { deepnorm_factors(position); },
                              "Position: the scheme depends on the number of layers of a stack, "
                              "which was not given. In an encoder-decoder, write Position::encoder("
                              "encoder_layers, layer, sublayer).with_decoder(decoder_layers)"));
  }
  EXPECT_TRUE(throws<Error>([] { deepnorm_factors(Position::decoder(18, 0, 0)); },
                            "Position::decoder_only(num_layers, layer, sublayer)"));
}

TEST(PositionTest, PrintsADepthAsANumber) {
  std::ostringstream stream;
  stream << Position::decoder_only(12, 0, 0).decoder_layers;
  EXPECT_EQ(stream.str(), "12");
}

TEST(PositionTest, PrintsItsKindByName) {
  std::ostringstream stream;
  stream << Position::decoder_only(12, 0, 1).kind;
  EXPECT_EQ(stream.str(), "feed-forward");
}

TEST(PositionTest, NamesTheLayerOrSublayerThatIsOutOfRange) {
  EXPECT_TRUE(throws<Error>([] { Position::encoder(18, 18, 0); },
                            "Position: expected layer in [0, 18), as the encoder has 18 layers, "
                            "but got 18"));
  EXPECT_TRUE(throws<Error>([] { Position::decoder(0, 0, 0); },
                            "Position: expected layer in [0, 0), as the decoder has 0 layers"));
  EXPECT_TRUE(throws<Error>([] { Position::decoder_only(6, 0, 2); },
                            "Position: expected sublayer in [0, 2), as a layer of the decoder has "
                            "2 sub-layers, but got 2"));
  EXPECT_TRUE(
      throws<Error>([] { Position::encoder(6, 0, -1); }, "Position: expected sublayer in [0, 2)"));
}

TEST(PositionTest, GivesOnlyTheOtherStacksDepth) {
  EXPECT_TRUE(throws<Error>([] { Position::decoder(6, 0, 0).with_decoder(6); },
                            "Position: expected with_decoder(layers) with layers >= 1, of an "
                            "encoder's position, but got 6, of a position in the decoder"));
  EXPECT_TRUE(throws<Error>([] { Position::encoder(6, 0, 0).with_encoder(6); },
                            "Position: expected with_encoder(layers) with layers >= 1"));
  EXPECT_TRUE(throws<Error>([] { Position::encoder(6, 0, 0).with_decoder(0); },
                            "but got 0, of a position in the encoder"));
}

}  // namespace
}  // namespace evenkeel
