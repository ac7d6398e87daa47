// SPDX-License-Identifier: MIT
#include <evenkeel/anatomy/torch_nn.hpp>

#include "anatomy_table.hpp"
#include "errors.hpp"
#include "fixture.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/modules/transformer.h>
#include <torch/nn/modules/transformercoder.h>
#include <torch/nn/modules/transformerlayer.h>
#include <torch/nn/options/activation.h>
#include <torch/nn/options/transformer.h>
#include <torch/nn/options/transformercoder.h>
#include <torch/nn/options/transformerlayer.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel {
namespace {

using test::Lines;
using test::parameters_of;
using test::sublayers_of;
using torch::nn::MultiheadAttention;
using torch::nn::MultiheadAttentionOptions;

class TorchAnatomyTest : public test::SeededTest {};

TEST_F(TorchAnatomyTest, ReadsPackedAttentionByThirds) {
  MultiheadAttention attention(MultiheadAttentionOptions(4, 2));
  const auto anatomy = anatomy_of(attention);

  EXPECT_EQ(sublayers_of(anatomy), (Lines{"encoder 0 attention"}));
  EXPECT_EQ(parameters_of(anatomy),
            (Lines{"in_proj_weight[0:4]: query, encoder 0",
                   "in_proj_weight[4:8]: key, encoder 0",
                   "in_proj_weight[8:12]: value, encoder 0",
                   "in_proj_bias[0:4]: bias, encoder 0",
                   "in_proj_bias[4:8]: bias, encoder 0",
                   "in_proj_bias[8:12]: bias, encoder 0",
                   "out_proj.weight: attention output, encoder 0",
                   "out_proj.bias: bias, encoder 0"}));
}

TEST_F(TorchAnatomyTest, ReadsSeparateProjectionsOfOtherSizes) {
  MultiheadAttention attention(MultiheadAttentionOptions(4, 2).kdim(6).vdim(8).add_bias_kv(true));

  EXPECT_EQ(parameters_of(anatomy_of(attention, Stack::kDecoder)),
            (Lines{"q_proj_weight: query, decoder 0",
                   "k_proj_weight: key, decoder 0",
                   "v_proj_weight: value, decoder 0",
                   "in_proj_bias[0:4]: bias, decoder 0",
                   "in_proj_bias[4:8]: bias, decoder 0",
                   "in_proj_bias[8:12]: bias, decoder 0",
                   "bias_k: unscaled, decoder 0",
                   "bias_v: unscaled, decoder 0",
                   "out_proj.weight: attention output, decoder 0",
                   "out_proj.bias: bias, decoder 0"}));
}

TEST_F(TorchAnatomyTest, ReadsAttentionWithoutBias) {
  MultiheadAttention attention(MultiheadAttentionOptions(4, 2).bias(false));

  EXPECT_EQ(parameters_of(anatomy_of(attention)),
            (Lines{"in_proj_weight[0:4]: query, encoder 0",
                   "in_proj_weight[4:8]: key, encoder 0",
                   "in_proj_weight[8:12]: value, encoder 0",
                   "out_proj.weight: attention output, encoder 0"}));
}

TEST_F(TorchAnatomyTest, ReadsAnEncoderLayer) {
  torch::nn::TransformerEncoderLayer layer(
      torch::nn::TransformerEncoderLayerOptions(4, 2).dim_feedforward(6));
  const auto anatomy = anatomy_of(layer);

  EXPECT_EQ(anatomy.encoder_layers, 1);
  EXPECT_EQ(sublayers_of(anatomy), (Lines{"encoder 0 self_attn", "encoder 1 feed_forward"}));
  EXPECT_EQ(parameters_of(anatomy),
            (Lines{"self_attn.in_proj_weight[0:4]: query, encoder 0",
                   "self_attn.in_proj_weight[4:8]: key, encoder 0",
                   "self_attn.in_proj_weight[8:12]: value, encoder 0",
                   "self_attn.in_proj_bias[0:4]: bias, encoder 0",
                   "self_attn.in_proj_bias[4:8]: bias, encoder 0",
                   "self_attn.in_proj_bias[8:12]: bias, encoder 0",
                   "self_attn.out_proj.weight: attention output, encoder 0",
                   "self_attn.out_proj.bias: bias, encoder 0",
                   "linear1.weight: feed-forward in, encoder 1",
                   "linear1.bias: bias, encoder 1",
                   "linear2.weight: feed-forward out, encoder 1",
                   "linear2.bias: bias, encoder 1",
                   "norm1.weight: norm, encoder 0",
                   "norm1.bias: norm, encoder 0",
                   "norm2.weight: norm, encoder 1",
                   "norm2.bias: norm, encoder 1"}));
}

TEST_F(TorchAnatomyTest, ReadsADecoderLayer) {
  torch::nn::TransformerDecoderLayer layer(
      torch::nn::TransformerDecoderLayerOptions(4, 2).dim_feedforward(6));
  const auto anatomy = anatomy_of(layer, Stack::kDecoder);

  EXPECT_EQ(anatomy.decoder_layers, 1);
  EXPECT_EQ(sublayers_of(anatomy),
            (Lines{"decoder 0 self_attn", "decoder 1 multihead_attn", "decoder 2 feed_forward"}));
  const auto lines = parameters_of(anatomy);
  ASSERT_EQ(lines.size(), 26U);
  EXPECT_EQ(lines[10], "multihead_attn.in_proj_weight[8:12]: value, decoder 1");
  EXPECT_EQ(lines[14], "multihead_attn.out_proj.weight: attention output, decoder 1");
  EXPECT_EQ(lines[18], "linear2.weight: feed-forward out, decoder 2");
  EXPECT_EQ(lines[25], "norm3.bias: norm, decoder 2");

  const auto& cross = anatomy.sublayers[1];
  const auto names = [&](const std::vector<size_t>& entries) {
    Lines named;
    for (const auto at : entries) named.push_back(lines[at]);
    return named;
  };
  EXPECT_EQ(names(cross.reads), (Lines{"multihead_attn.in_proj_weight[0:4]: query, decoder 1"}));
  EXPECT_EQ(names(cross.reads_encoder),
            (Lines{"multihead_attn.in_proj_weight[4:8]: key, decoder 1",
                   "multihead_attn.in_proj_weight[8:12]: value, decoder 1"}));
  for (const auto& sublayer : anatomy.sublayers) {
    ASSERT_EQ(sublayer.norms.size(), 1U);
    EXPECT_EQ(sublayer.norms[0].slot, NormSlot::kSum);
    EXPECT_EQ(sublayer.norms[0].parameters.size(), 2U);
  }
  EXPECT_EQ(anatomy.sublayers[1].norms[0].module, layer->norm2.ptr());
}

TEST_F(TorchAnatomyTest, ReadsAnEncoderAloneWithItsFinalNorm) {
  torch::nn::TransformerEncoder encoder(
      torch::nn::TransformerEncoderOptions(
          torch::nn::TransformerEncoderLayer(
              torch::nn::TransformerEncoderLayerOptions(4, 2).dim_feedforward(6)),
          3)
          .norm(torch::nn::AnyModule(torch::nn::LayerNorm(torch::nn::LayerNormOptions({4})))));
  const auto anatomy = anatomy_of(encoder);

  EXPECT_EQ(anatomy.encoder_layers, 3);
  EXPECT_EQ(anatomy.decoder_layers, 0);
  EXPECT_EQ(anatomy.num_res_layers(Stack::kEncoder), 6);
  ASSERT_EQ(parameters_of(anatomy).size(), 3 * 16 + 2U);
  EXPECT_EQ(parameters_of(anatomy).back(), "norm.bias: norm, encoder");  // of no sub-layer
}

TEST_F(TorchAnatomyTest, ReadsADecoderAlone) {
  torch::nn::TransformerDecoder decoder(torch::nn::TransformerDecoderOptions(
      torch::nn::TransformerDecoderLayer(
          torch::nn::TransformerDecoderLayerOptions(4, 2).dim_feedforward(6)),
      2));
  const auto anatomy = anatomy_of(decoder, Stack::kDecoder);

  EXPECT_EQ(anatomy.encoder_layers, 0);
  EXPECT_EQ(anatomy.decoder_layers, 2);
  EXPECT_EQ(anatomy.num_res_layers(Stack::kDecoder), 6);
}

TEST_F(TorchAnatomyTest, ReadsBothStacksOfATransformerInForwardOrder) {
  torch::nn::Transformer model(torch::nn::TransformerOptions(4, 2)
                                   .num_encoder_layers(1)
                                   .num_decoder_layers(2)
                                   .dim_feedforward(6));
  const auto anatomy = anatomy_of(model);

  EXPECT_EQ(anatomy.encoder_layers, 1);
  EXPECT_EQ(anatomy.decoder_layers, 2);
  EXPECT_EQ(sublayers_of(anatomy),
            (Lines{"encoder 0 self_attn",
                   "encoder 1 feed_forward",
                   "decoder 0 self_attn",
                   "decoder 1 multihead_attn",
                   "decoder 2 feed_forward",
                   "decoder 3 self_attn",
                   "decoder 4 multihead_attn",
                   "decoder 5 feed_forward"}));
  for (const auto& parameter : anatomy.parameters) {
    EXPECT_EQ(to_string(parameter.stack), parameter.name.substr(0, 7)) << parameter.name;
  }
}

torch::nn::TransformerOptions with_encoder(torch::nn::AnyModule encoder) {
  return torch::nn::TransformerOptions(4, 2)
      .num_decoder_layers(2)
      .dim_feedforward(6)
      .custom_encoder(std::move(encoder));
}

TEST_F(TorchAnatomyTest, ReadsATransformerWithAnEncoderOfOnesOwn) {
  torch::nn::Transformer model(with_encoder(torch::nn::AnyModule(torch::nn::Identity())));
  const auto anatomy = anatomy_of(model);

  EXPECT_EQ(anatomy.encoder_layers, 0);
  EXPECT_EQ(anatomy.decoder_layers, 2);
}

TEST_F(TorchAnatomyTest, NamesWhatAnEncoderOfOnesOwnDoesNotTell) {
  torch::nn::Transformer model(with_encoder(torch::nn::AnyModule(torch::nn::Linear(4, 4))));
  EXPECT_TRUE(test::throws(
      [&] { anatomy_of(model); },
      "these have none: encoder.weight, encoder.bias. They are held by encoder of type "
      "torch::nn::Linear, for which no AnatomyOf was run: specialise evenkeel::AnatomyOf for a "
      "module of your own that holds it. AnatomyOf was run for "));
}

}  // namespace
}  // namespace evenkeel
