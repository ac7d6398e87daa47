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
                   "in_proj_bias[0:4]: bias, encoder 0",
                   "in_proj_bias[4:8]: bias, encoder 0",
                   "in_proj_bias[8:12]: bias, encoder 0",
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
            (Lines{"encoder 0 self_attn",
                   "encoder 1 feed_forward",
                   "encoder 2 self_attn",
                   "encoder 3 feed_forward"}));
  const auto lines = parameters_of(anatomy);
  ASSERT_EQ(lines.size(), 36U);
  EXPECT_EQ(Lines(lines.begin() + 18, lines.end()),
            (Lines{"layer_1.self_attn.in_proj_weight[0:4]: query, encoder 2",
                   "layer_1.self_attn.in_proj_weight[4:8]: key, encoder 2",
                   "layer_1.self_attn.in_proj_weight[8:12]: value, encoder 2",
                   "layer_1.self_attn.in_proj_bias[0:4]: bias, encoder 2",
                   "layer_1.self_attn.in_proj_bias[4:8]: bias, encoder 2",
                   "layer_1.self_attn.in_proj_bias[8:12]: bias, encoder 2",
                   "layer_1.self_attn.out_proj.weight: attention output, encoder 2",
                   "layer_1.self_attn.out_proj.bias: bias, encoder 2",
                   "layer_1.self_attn_residual.omega: gain, encoder 2",
                   "layer_1.self_attn_residual.norm.weight: norm, encoder 2",
                   "layer_1.self_attn_residual.norm.bias: norm, encoder 2",
                   "layer_1.feed_forward.fc1.weight: feed-forward in, encoder 3",
                   "layer_1.feed_forward.fc1.bias: bias, encoder 3",
                   "layer_1.feed_forward.fc2.weight: feed-forward out, encoder 3",
                   "layer_1.feed_forward.fc2.bias: bias, encoder 3",
                   "layer_1.feed_forward_residual.omega: gain, encoder 3",
                   "layer_1.feed_forward_residual.norm.weight: norm, encoder 3",
                   "layer_1.feed_forward_residual.norm.bias: norm, encoder 3"}));
}

TEST_F(NnAnatomyTest, KnowsWhatEachSublayerOfADecoderReadsAndWrites) {
  nn::Decoder<Admin> decoder(nn::StackOptions(1, 4, 2, 6).num_kv_heads(1));
  const auto anatomy = anatomy_of(decoder, Stack::kDecoder);
  ASSERT_EQ(anatomy.sublayers.size(), 3U);
  const auto names = [&](const std::vector<size_t>& entries) {
    Lines lines;
    for (const auto at : entries) {
      const auto& entry = anatomy.parameters[at];
      lines.push_back(entry.name + " " + to_string(entry.role));
    }
    return lines;
  };
  const auto& self = anatomy.sublayers[0];
  const auto& cross = anatomy.sublayers[1];
  EXPECT_EQ(self.kind, SublayerKind::kSelfAttention);
  EXPECT_EQ(cross.kind, SublayerKind::kCrossAttention);
  EXPECT_EQ(anatomy.sublayers[2].kind, SublayerKind::kFeedForward);
  EXPECT_EQ(names(self.reads),
            (Lines{"layer_0.self_attn.in_proj_weight query",
                   "layer_0.self_attn.in_proj_weight key",
                   "layer_0.self_attn.in_proj_weight value"}));
  EXPECT_EQ(names(cross.reads), (Lines{"layer_0.cross_attn.in_proj_weight query"}));
  EXPECT_EQ(
      names(cross.reads_encoder),
      (Lines{"layer_0.cross_attn.in_proj_weight key", "layer_0.cross_attn.in_proj_weight value"}));
  EXPECT_EQ(names(cross.writes), (Lines{"layer_0.cross_attn.out_proj.weight attention output"}));
  ASSERT_EQ(cross.norms.size(), 1U);
  EXPECT_EQ(cross.norms[0].slot, NormSlot::kSum);
  ASSERT_EQ(cross.gains.size(), 1U);
  EXPECT_EQ(cross.gains[0].slot, GainSlot::kShortcut);
  EXPECT_TRUE(
      cross.gains[0].tensor.is_same(decoder->layers[0]->sublayer("cross_attn").residual->omega));
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
