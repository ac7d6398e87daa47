// SPDX-License-Identifier: MIT
// What evenkeel::nn's own blocks tell of themselves.
#include <evenkeel/anatomy/anatomy.hpp>

#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/tfixup.hpp>

#include "anatomy_table.hpp"
#include "fixture.hpp"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using test::Lines;
using test::parameters_of;
using test::sublayers_of;

class NnAnatomyTest : public test::SeededTest {};

TEST_F(NnAnatomyTest, ReadsAttentionAndFeedForward) {
  nn::MultiHeadAttention attention(nn::MultiHeadAttentionOptions(4, 2));
  EXPECT_EQ(parameters_of(anatomy_of(attention)),
            (Lines{"in_proj_weight[0:4]: query, encoder 0",
                   "in_proj_weight[4:8]: key, encoder 0",
                   "in_proj_weight[8:12]: value, encoder 0",
                   "in_proj_bias: bias, encoder",
                   "out_proj.weight: attention output, encoder 0",
                   "out_proj.bias: bias, encoder 0"}));
  nn::FeedForward feed_forward(nn::FeedForwardOptions(4, 6));
  EXPECT_EQ(parameters_of(anatomy_of(feed_forward)),
            (Lines{"fc1.weight: feed-forward in, encoder 0",
                   "fc1.bias: bias, encoder 0",
                   "fc2.weight: feed-forward out, encoder 0",
                   "fc2.bias: bias, encoder 0"}));
}

TEST_F(NnAnatomyTest, ReadsAnEncoderWithItsGainsAndNorms) {
  nn::Encoder<Admin> encoder(nn::StackOptions(2, 4, 2, 6));
  const auto anatomy = anatomy_of(encoder);

  EXPECT_EQ(anatomy.encoder_layers, 2);
  EXPECT_EQ(sublayers_of(anatomy),
            (Lines{"encoder 0 attention",
                   "encoder 1 feed_forward",
                   "encoder 2 attention",
                   "encoder 3 feed_forward"}));
  const auto lines = parameters_of(anatomy);
  ASSERT_EQ(lines.size(), 32U);
  EXPECT_EQ(Lines(lines.begin() + 16, lines.end()),
            (Lines{"layer_1.self_attn.in_proj_weight[0:4]: query, encoder 2",
                   "layer_1.self_attn.in_proj_weight[4:8]: key, encoder 2",
                   "layer_1.self_attn.in_proj_weight[8:12]: value, encoder 2",
                   "layer_1.self_attn.in_proj_bias: bias, encoder",
                   "layer_1.self_attn.out_proj.weight: attention output, encoder 2",
                   "layer_1.self_attn.out_proj.bias: bias, encoder 2",
                   "layer_1.self_attn_residual.omega: gain, encoder",
                   "layer_1.self_attn_residual.norm.weight: norm, encoder",
                   "layer_1.self_attn_residual.norm.bias: norm, encoder",
                   "layer_1.feed_forward.fc1.weight: feed-forward in, encoder 3",
                   "layer_1.feed_forward.fc1.bias: bias, encoder 3",
                   "layer_1.feed_forward.fc2.weight: feed-forward out, encoder 3",
                   "layer_1.feed_forward.fc2.bias: bias, encoder 3",
                   "layer_1.feed_forward_residual.omega: gain, encoder",
                   "layer_1.feed_forward_residual.norm.weight: norm, encoder",
                   "layer_1.feed_forward_residual.norm.bias: norm, encoder"}));
}

TEST_F(NnAnatomyTest, ReadsADecoderWithAndWithoutCrossAttention) {
  const auto options = nn::StackOptions(2, 4, 2, 6);
  nn::Decoder<PreNorm> decoder(options);
  const auto anatomy = anatomy_of(decoder);
  EXPECT_EQ(anatomy.encoder_layers, 0);
  EXPECT_EQ(anatomy.decoder_layers, 2);
  EXPECT_EQ(anatomy.num_res_layers(Stack::kDecoder), 6);

  nn::Decoder<PreNorm> decoder_only(nn::StackOptions(options).cross_attention(false));
  EXPECT_EQ(anatomy_of(decoder_only).decoder_layers, 2);
  EXPECT_EQ(anatomy_of(decoder_only).num_res_layers(Stack::kDecoder), 4);
}

TEST_F(NnAnatomyTest, ReadsATransformerWithAnEmbeddingThatIsShared) {
  nn::Transformer<TFixup> model(nn::TransformerOptions()
                                    .encoder_layers(1)
                                    .decoder_layers(2)
                                    .embed_dim(4)
                                    .num_heads(2)
                                    .dim_feedforward(6)
                                    .vocab_size(9));
  const auto anatomy = anatomy_of(model);

  EXPECT_EQ(anatomy.encoder_layers, 1);
  EXPECT_EQ(anatomy.decoder_layers, 2);
  EXPECT_EQ(anatomy.num_res_layers(Stack::kEncoder), 2);
  EXPECT_EQ(anatomy.num_res_layers(Stack::kDecoder), 6);
  const auto lines = parameters_of(anatomy);
  EXPECT_EQ(lines.front(), "src_embedding.weight: embedding, encoder");
  EXPECT_EQ(lines[1], "encoder.layer_0.self_attn.in_proj_weight[0:4]: query, encoder 0");
  EXPECT_EQ(lines.back(), "decoder.layer_1.feed_forward.fc2.bias: bias, decoder 5");
}

TEST_F(NnAnatomyTest, ReadsATransformerWithThreeEmbeddings) {
  nn::Transformer<TFixup> model(nn::TransformerOptions()
                                    .encoder_layers(1)
                                    .decoder_layers(1)
                                    .embed_dim(4)
                                    .num_heads(2)
                                    .dim_feedforward(6)
                                    .vocab_size(9)
                                    .tie_embeddings(false));
  const auto lines = parameters_of(anatomy_of(model));

  EXPECT_EQ(Lines(lines.begin(), lines.begin() + 3),
            (Lines{"src_embedding.weight: embedding, encoder",
                   "tgt_embedding.weight: embedding, decoder",
                   "head.weight: head, encoder"}));
}

}  // namespace
}  // namespace evenkeel
