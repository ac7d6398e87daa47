// SPDX-License-Identifier: MIT
// Which sub-layers form a layer, and where parameters stand.
#include <evenkeel/anatomy/anatomy.hpp>

#include <evenkeel/anatomy/torch_nn.hpp>

#include "anatomy_table.hpp"
#include "blocks.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "open_model.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/transformer.h>

#include <string>
#include <vector>

namespace evenkeel {
namespace test {

/// A feed-forward alone, which is a layer of its own to an anatomy that is told its type.
class ExpertImpl : public torch::nn::Module {
 public:
  torch::nn::Linear fc1{register_module("fc1", torch::nn::Linear(4, 6))};
  torch::nn::Linear fc2{register_module("fc2", torch::nn::Linear(6, 4))};
};
TORCH_MODULE(Expert);

}  // namespace test

template <>
struct AnatomyOf<test::Expert> {
  static void describe(test::ExpertImpl& expert, AnatomyBuilder& anatomy) {
    anatomy.sublayer("feed_forward").input(expert.fc1).output(expert.fc2);
  }
};

namespace {

using test::anatomy_told;
using test::Expert;
using test::Lines;
using test::OpenModel;
using test::throws;
using torch::nn::Linear;
using torch::nn::MultiheadAttention;
using torch::nn::MultiheadAttentionOptions;

MultiheadAttention attention() {
  return MultiheadAttention(MultiheadAttentionOptions(4, 2));
}

class LayersTest : public test::SeededTest {};

TEST_F(LayersTest, TellWhereEverySublayerStands) {
  torch::nn::Transformer model(torch::nn::TransformerOptions(4, 2)
                                   .num_encoder_layers(1)
                                   .num_decoder_layers(2)
                                   .dim_feedforward(6));
  const auto anatomy = anatomy_of(model);
  Lines lines;
  for (const auto& sublayer : anatomy.sublayers) {
    const auto position = anatomy.position(sublayer);
    lines.push_back(fmt::format("{} {}, {} of {}, {}",
                                to_string(position.stack),
                                position.layer,
                                position.index,
                                position.num_res_layers,
                                to_string(position.kind)));
    EXPECT_EQ(position.encoder_layers, 1);
    EXPECT_EQ(position.decoder_layers, 2);
  }
  EXPECT_EQ(lines,
            (Lines{"encoder 0, 0 of 2, self-attention",
                   "encoder 0, 1 of 2, feed-forward",
                   "decoder 0, 0 of 6, self-attention",
                   "decoder 0, 1 of 6, cross-attention",
                   "decoder 0, 2 of 6, feed-forward",
                   "decoder 1, 3 of 6, self-attention",
                   "decoder 1, 4 of 6, cross-attention",
                   "decoder 1, 5 of 6, feed-forward"}));
}

TEST_F(LayersTest, TellWhereEveryParameterStands) {
  test::OwnStack model(2);
  const auto anatomy = anatomy_of<test::OwnBlock>(model, Stack::kDecoder);

  const auto last = anatomy.position(anatomy.parameters.back());  // the last fc2's bias
  EXPECT_EQ(last.stack, Stack::kDecoder);
  EXPECT_EQ(last.layer, 1);
  EXPECT_EQ(last.index, 3);
  EXPECT_EQ(last.kind, SublayerKind::kFeedForward);
  const auto embedding = anatomy.position(anatomy.parameters.front());
  EXPECT_EQ(anatomy.sublayer_of(anatomy.parameters.front()), nullptr);
  EXPECT_EQ(embedding.stack, Stack::kDecoder);
  EXPECT_EQ(embedding.kind, SublayerKind::kOther);
  EXPECT_EQ(embedding.num_res_layers, 4);
}

TEST_F(LayersTest, AreNotMadeOfAttentionAndFeedForwardOneEach) {
  OpenModel model;  // the attention, the router and the experts of one layer
  auto self = model->add("attention", attention());
  auto router = model->add("router", Linear(4, 2));
  auto experts = model->add("experts", torch::nn::ModuleList());
  for (int i = 0; i < 2; ++i) experts->push_back(Expert());
  const auto walked = [&](AnatomyBuilder& told) {
    told.unscaled(router).walk(*self);
    for (auto& expert : *experts) told.describe(*expert->as<test::ExpertImpl>());
  };
  model->tell = walked;
  EXPECT_TRUE(throws([&] { anatomy_of<Expert>(model); },
                     "anatomy: which modules form a layer of the encoder is not known: attention "
                     "is only an attention, experts.0 only a feed-forward. Specialise "
                     "evenkeel::AnatomyOf for the block that holds them, with a sublayer(...) for "
                     "each; the experts of a mixture are one: "));

  model->tell = [&](AnatomyBuilder& told) {
    told.layer().walk(*self);
    auto sublayer = told.sublayer("experts").router(router);
    for (auto& expert : *experts) {
      auto& fc = *expert->as<test::ExpertImpl>();
      sublayer.input(fc.fc1).output(fc.fc2);
    }
  };
  const auto anatomy = anatomy_of(model);
  EXPECT_EQ(anatomy.encoder_layers, 1);
  EXPECT_EQ(anatomy.num_res_layers(Stack::kEncoder), 2);
}

TEST_F(LayersTest, MayBeOneSublayerEachWhereThatIsTold) {
  OpenModel model;
  auto self = model->add("attention", attention());
  auto expert = model->add("expert", Expert());
  const auto anatomy = anatomy_told(model, [&](AnatomyBuilder& told) {
    told.layer().describe(self).layer().describe(expert);
  });
  EXPECT_EQ(anatomy.encoder_layers, 2);
  EXPECT_EQ(anatomy.sublayers[1].layer, 1);
}

TEST_F(LayersTest, MayBeFeedForwardsAllOfThem) {
  torch::nn::ModuleList model;
  for (int i = 0; i < 3; ++i) model->push_back(Expert());
  EXPECT_EQ(anatomy_of<Expert>(model).encoder_layers, 3);
}

TEST_F(LayersTest, AreBegunOneByOneInAModelThatTellsItsOwnSublayers) {
  OpenModel model;
  auto first = model->add("first", Expert());
  auto second = model->add("second", Expert());
  std::vector<test::OwnBlock> blocks{model->add("block", test::OwnBlock())};
  const auto anatomy = anatomy_told(model, [&](AnatomyBuilder& told) {
    for (const auto& expert : {first, second}) {
      told.layer().sublayer("feed_forward").input(expert->fc1).output(expert->fc2);
    }
    told.encoder(blocks);
  });
  EXPECT_EQ(anatomy.encoder_layers, 3);
  EXPECT_EQ(anatomy.sublayers.back().layer, 2);
}

}  // namespace
}  // namespace evenkeel
