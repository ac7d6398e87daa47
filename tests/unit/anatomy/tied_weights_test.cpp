// SPDX-License-Identifier: MIT
// Weights that are tied, in the ways that C++ programs have, and blocks that layers share.
#include <evenkeel/anatomy/detail/registered.hpp>

#include <evenkeel/anatomy/torch_nn.hpp>

#include "anatomy_table.hpp"
#include "blocks.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "open_model.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <functional>
#include <vector>

namespace evenkeel {
namespace {

using test::anatomy_told;
using test::Lines;
using test::OpenModel;
using test::OwnBlock;
using test::parameters_of;
using test::throws;
using torch::nn::Embedding;
using torch::nn::Linear;
using torch::nn::LinearOptions;

class TiedWeightsTest : public test::SeededTest {
 protected:
  void tell_both(AnatomyBuilder& told) { told.embedding(tokens).head(head); }
  Anatomy anatomy() {
    return anatomy_told(model, [&](AnatomyBuilder& told) { tell_both(told); });
  }

  OpenModel model;
  Embedding tokens = model->add("tokens", Embedding(10, 4));
  Linear head = model->add("head", Linear(LinearOptions(4, 10).bias(false)));
};

TEST_F(TiedWeightsTest, AreOneParameterWhereTwoTensorsShareTheirMemory) {
  head->weight.set_data(tokens->weight);
  const auto tied = anatomy();

  EXPECT_EQ(parameters_of(tied), (Lines{"tokens.weight: embedding, encoder"}));
  EXPECT_EQ(tied.parameters.front().tied_names, (Lines{"head.weight"}));
}

TEST_F(TiedWeightsTest, AreTheEmbeddingWhicheverIsToldFirst) {
  head->weight.set_data(tokens->weight);
  const auto tied = anatomy_told(model, [&](AnatomyBuilder& told) {
    told.head(head).embedding(tokens, Stack::kDecoder);
  });
  EXPECT_EQ(parameters_of(tied), (Lines{"tokens.weight: embedding, decoder"}));
}

TEST_F(TiedWeightsTest, AreOneParameterWhereOneIsRegisteredTwice) {
  model->add("again", tokens);
  model->add("table", tokens->weight);
  const auto tied = anatomy();

  EXPECT_EQ(parameters_of(tied),
            (Lines{"table: embedding, encoder", "head.weight: head, encoder"}));
  EXPECT_EQ(tied.parameters.front().tied_names, (Lines{"tokens.weight", "again.weight"}));
}

TEST_F(TiedWeightsTest, AreNotTiedByAnAssignmentToTheMember) {
  head->weight = tokens->weight;
  const auto* const said =
      "anatomy: head.weight is registered, but the module's own `weight` is another tensor, that "
      "of tokens.weight. Assigning to a member does not register the tensor";
  EXPECT_TRUE(throws([&] { anatomy(); }, said));
  EXPECT_TRUE(
      throws([&] { anatomy_told(model, [&](AnatomyBuilder& told) { told.embedding(tokens); }); },
             said));
}

TEST_F(TiedWeightsTest, AreRefusedWhereTheyOverlapInPart) {
  const auto flat = torch::zeros({44});
  tokens->weight.set_data(flat.narrow(0, 0, 40).view({10, 4}));
  head->weight.set_data(flat.narrow(0, 4, 40).view({10, 4}));
  EXPECT_TRUE(throws([&] { anatomy(); },
                     "anatomy: tokens.weight of shape [10, 4] and head.weight of shape [10, 4] "
                     "share memory, but are not the same weights. Tied weights have the same"));

  head->weight.set_data(torch::zeros({10, 4}));
  tokens->weight.set_data(head->weight.detach().t());
  EXPECT_TRUE(throws([&] { anatomy(); }, "share memory, but are not the same weights"));
}

TEST_F(TiedWeightsTest, AreNotTiedByLyingInOneBuffer) {
  const auto flat = torch::zeros({80});
  tokens->weight.set_data(flat.narrow(0, 0, 40).view({10, 4}));
  head->weight.set_data(flat.narrow(0, 40, 40).view({10, 4}));

  EXPECT_EQ(parameters_of(anatomy()),
            (Lines{"tokens.weight: embedding, encoder", "head.weight: head, encoder"}));
}

TEST_F(TiedWeightsTest, AreRefusedBetweenAnEmbeddingAndAMatrixOfALayer) {
  auto fc1 = model->add("fc1", Linear(LinearOptions(4, 10).bias(false)));
  fc1->weight.set_data(tokens->weight);
  EXPECT_TRUE(throws(
      [&] {
        anatomy_told(model, [&](AnatomyBuilder& told) {
          tell_both(told);
          told.sublayer("feed_forward").input(fc1);
        });
      },
      "anatomy: tokens.weight, tied to fc1.weight, was given two roles, embedding and feed-forward "
      "in. Only embeddings and heads may be tied to one another"));
}

TEST_F(TiedWeightsTest, MayBeTwoHeadsOfOneModule) {
  OpenModel two;
  auto first = two->add("first", Linear(4, 10));
  auto second = two->add("second", first);
  const auto tied = anatomy_told(two, [&](AnatomyBuilder& told) { told.head(first).head(second); });
  EXPECT_EQ(parameters_of(tied),
            (Lines{"first.weight: head, encoder", "first.bias: bias, encoder"}));
}

class SharedBlockTest : public test::SeededTest {};

TEST_F(SharedBlockTest, IsRefusedInAVector) {
  OpenModel model;
  auto block = model->add("layer", OwnBlock());
  std::vector<OwnBlock> blocks(6, block);
  EXPECT_TRUE(throws(
      [&] { anatomy_told(model, [&](AnatomyBuilder& told) { told.encoder(blocks); }); },
      "anatomy: a block of type evenkeel::test::OwnBlock is shared by several layers; it is "
      "registered as layer. Initial weights depend on the position of a layer: give each layer "
      "its own block"));
}

TEST_F(SharedBlockTest, IsRefusedInAModuleList) {
  torch::nn::ModuleList blocks;
  OwnBlock block;
  for (int i = 0; i < 3; ++i) blocks->push_back(block);
  EXPECT_TRUE(throws([&] { anatomy_of<OwnBlock>(blocks); },
                     "is shared by several layers; it is registered as 0, 1, 2."));
}

TEST_F(SharedBlockTest, IsRefusedBetweenTheStacks) {
  OpenModel model;
  std::vector<OwnBlock> blocks{model->add("layer", OwnBlock())};
  EXPECT_TRUE(throws(
      [&] {
        anatomy_told(model, [&](AnatomyBuilder& told) { told.encoder(blocks).decoder(blocks); });
      },
      "is shared by several layers"));
}

TEST_F(SharedBlockTest, IsRefusedWhereOneMatrixIsToldInTwoSublayers) {
  OpenModel model;
  auto q = model->add("q", Linear(4, 4));
  EXPECT_TRUE(throws(
      [&] {
        anatomy_told(model, [&](AnatomyBuilder& told) {
          told.layer().sublayer("attention").query(q);
          told.layer().sublayer("attention").query(q);
        });
      },
      "anatomy: q.weight is shared: it is the query of sub-layer 0 of the encoder and "
      "of sub-layer 1 of the encoder"));
}

}  // namespace
}  // namespace evenkeel
