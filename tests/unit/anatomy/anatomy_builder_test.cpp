// SPDX-License-Identifier: MIT
#include <evenkeel/anatomy/anatomy_builder.hpp>

#include <evenkeel/anatomy/torch_nn.hpp>

#include "anatomy_table.hpp"
#include "blocks.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"
#include "rms_norm.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/types.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel {
namespace test {

/// Tells of itself what a test wants it to tell.
class ToldImpl : public torch::nn::Cloneable<ToldImpl> {
 public:
  using Tell = std::function<void(ToldImpl&, AnatomyBuilder&)>;
  explicit ToldImpl(Tell tell_) : tell(std::move(tell_)) { reset(); }
  void reset() override {
    a = register_module("a", torch::nn::Linear(4, 6));
    b = register_module("b", torch::nn::Linear(6, 4));
    scale = register_parameter("scale", torch::ones({4}));
  }

  Tell tell;
  torch::nn::Linear a{nullptr}, b{nullptr};
  torch::Tensor scale;
};
TORCH_MODULE(Told);

}  // namespace test

template <>
struct AnatomyOf<test::Told> {
  static void describe(test::ToldImpl& model, AnatomyBuilder& anatomy) {
    model.tell(model, anatomy);
  }
};

namespace {

using test::Lines;
using test::parameters_of;
using test::sublayers_of;
using test::throws;
using test::Told;
using test::ToldImpl;

class AnatomyBuilderTest : public test::SeededTest {};

TEST_F(AnatomyBuilderTest, ReadsBlocksInAVectorFromWhatTheModelTells) {
  test::OwnTransformer model(/*encoder_layers=*/1, /*decoder_layers=*/2, /*tied=*/false);
  const auto anatomy = anatomy_of(model);

  EXPECT_EQ(anatomy.encoder_layers, 1);
  EXPECT_EQ(anatomy.decoder_layers, 2);
  EXPECT_EQ(anatomy.num_res_layers(Stack::kEncoder), 2);
  EXPECT_EQ(anatomy.num_res_layers(Stack::kDecoder), 4);
  EXPECT_EQ(sublayers_of(anatomy),
            (Lines{"encoder 0 attention",
                   "encoder 1 feed_forward",
                   "decoder 0 attention",
                   "decoder 1 feed_forward",
                   "decoder 2 attention",
                   "decoder 3 feed_forward"}));
  const auto lines = parameters_of(anatomy);
  ASSERT_EQ(lines.size(), 39U);
  EXPECT_EQ(Lines(lines.begin(), lines.begin() + 15),
            (Lines{"src.weight: embedding, encoder",
                   "tgt.weight: embedding, decoder",
                   "head.weight: head, encoder",
                   "encoder_0.q.weight: query, encoder 0",
                   "encoder_0.q.bias: bias, encoder 0",
                   "encoder_0.k.weight: key, encoder 0",
                   "encoder_0.k.bias: bias, encoder 0",
                   "encoder_0.v.weight: value, encoder 0",
                   "encoder_0.v.bias: bias, encoder 0",
                   "encoder_0.o.weight: attention output, encoder 0",
                   "encoder_0.o.bias: bias, encoder 0",
                   "encoder_0.fc1.weight: feed-forward in, encoder 1",
                   "encoder_0.fc1.bias: bias, encoder 1",
                   "encoder_0.fc2.weight: feed-forward out, encoder 1",
                   "encoder_0.fc2.bias: bias, encoder 1"}));
  EXPECT_EQ(lines.back(), "decoder_1.fc2.bias: bias, decoder 3");
}

TEST_F(AnatomyBuilderTest, TakesATiedEmbeddingOnceAndAsTheEncoders) {
  test::OwnTransformer model(1, 1, /*tied=*/true);
  const auto lines = parameters_of(anatomy_of(model));

  EXPECT_EQ(lines.front(), "src.weight: embedding, encoder");
  EXPECT_EQ(lines[1], "encoder_0.q.weight: query, encoder 0");
}

TEST_F(AnatomyBuilderTest, FindsBlocksInAModuleListByTheirType) {
  test::OwnStack model(2);
  const auto anatomy = anatomy_of<test::OwnBlock>(model);

  EXPECT_EQ(anatomy.encoder_layers, 2);
  EXPECT_EQ(anatomy.decoder_layers, 0);
  EXPECT_EQ(sublayers_of(anatomy),
            (Lines{"encoder 0 attention",
                   "encoder 1 feed_forward",
                   "encoder 2 attention",
                   "encoder 3 feed_forward"}));
  EXPECT_EQ(parameters_of(anatomy).front(), "tokens.weight: embedding, encoder");
  EXPECT_EQ(parameters_of(anatomy).back(), "blocks.1.fc2.bias: bias, encoder 3");
}

TEST_F(AnatomyBuilderTest, OfASingleStackIsTheStackThatTheCallerSays) {
  test::OwnStack model(2);
  const auto anatomy = anatomy_of<test::OwnBlock>(model, Stack::kDecoder);

  EXPECT_EQ(anatomy.encoder_layers, 0);
  EXPECT_EQ(anatomy.decoder_layers, 2);
  EXPECT_EQ(parameters_of(anatomy).front(), "tokens.weight: embedding, decoder");
  EXPECT_EQ(parameters_of(anatomy).back(), "blocks.1.fc2.bias: bias, decoder 3");
}

TEST_F(AnatomyBuilderTest, KnowsNormsByTheirType) {
  torch::nn::Sequential model(torch::nn::LayerNorm(torch::nn::LayerNormOptions({4})),
                              test::RmsNorm(4),
                              torch::nn::BatchNorm1d(4),
                              torch::nn::GroupNorm(2, 4));
  EXPECT_EQ(parameters_of(anatomy_of(model)),
            (Lines{"0.weight: norm, encoder",
                   "0.bias: norm, encoder",
                   "1.weight: norm, encoder",
                   "2.weight: norm, encoder",
                   "2.bias: norm, encoder",
                   "3.weight: norm, encoder",
                   "3.bias: norm, encoder"}));
}

TEST_F(AnatomyBuilderTest, TellsWhereAParameterStands) {
  test::OwnTransformer model(1, 2, false);
  const auto anatomy = anatomy_of(model);
  const auto& last = anatomy.parameters.back();
  const auto position = anatomy.position(last);

  EXPECT_EQ(position.stack, Stack::kDecoder);
  EXPECT_EQ(position.index, 3);
  EXPECT_EQ(position.num_res_layers, 4);
  EXPECT_EQ(position.encoder_layers, 1);
  EXPECT_EQ(position.decoder_layers, 2);
}

TEST_F(AnatomyBuilderTest, TakesEveryRoleThatCanBeTold) {
  Told model(
      [](ToldImpl& m, AnatomyBuilder& anatomy) { anatomy.unscaled(m.a).norm(m.b).gain(m.scale); });
  EXPECT_EQ(parameters_of(anatomy_of(model)),
            (Lines{"scale: gain, encoder",
                   "a.weight: unscaled, encoder",
                   "a.bias: unscaled, encoder",
                   "b.weight: norm, encoder",
                   "b.bias: norm, encoder"}));
}

TEST_F(AnatomyBuilderTest, NamesEveryParameterWithoutARoleAndChangesNothing) {
  Told model(
      [](ToldImpl& m, AnatomyBuilder& anatomy) { anatomy.sublayer("feed_forward").input(m.a); });
  const auto before = test::copy_of_state(*model);

  EXPECT_TRUE(
      throws([&] { anatomy_of(model); },
             "anatomy: expected a role for every parameter of evenkeel::test::Told, but "
             "these have none: scale, b.weight, b.bias. AnatomyOf<evenkeel::test::Told> "
             "was run for the model of type evenkeel::test::Told, but does not describe them: "
             "add them there"));
  EXPECT_TRUE(test::has_state(*model, before));
}

TEST_F(AnatomyBuilderTest, SaysToNameTheTypeOfBlocksThatItWasNotToldOf) {
  test::OwnStack model(3);
  EXPECT_TRUE(throws([&] { anatomy_of(model); }, "these have none: blocks.0.q.weight, "));
  EXPECT_TRUE(throws(
      [&] { anatomy_of(model); },
      ". They are held by blocks.0 and 2 more of type evenkeel::test::OwnBlock, for which no "
      "AnatomyOf was run: specialise evenkeel::AnatomyOf<evenkeel::test::OwnBlock> and name that "
      "type, as in anatomy_of<evenkeel::test::OwnBlock>(model) or "
      "TFixupInit<evenkeel::test::OwnStack, evenkeel::test::OwnBlock>; or specialise "
      "evenkeel::AnatomyOf<evenkeel::test::OwnStack> and describe there which blocks are the "
      "encoder(...) and which the decoder(...). No AnatomyOf was run at all"));
}

TEST_F(AnatomyBuilderTest, SaysWhichBlocksWereDescribedWhereOthersWereNot) {
  test::OwnStack model(1);
  model->register_module("more", Told([](ToldImpl&, AnatomyBuilder&) {}));
  EXPECT_TRUE(throws([&] { anatomy_of<test::OwnBlock>(model); },
                     "these have none: more.scale, more.a.weight, more.a.bias, more.b.weight, "
                     "more.b.bias. They are held by more of type evenkeel::test::Told, for which "
                     "no AnatomyOf was run: "));
  EXPECT_TRUE(throws([&] { anatomy_of<test::OwnBlock>(model); },
                     ". AnatomyOf was run for blocks.0 of type evenkeel::test::OwnBlock"));
}

TEST_F(AnatomyBuilderTest, AsksForAModuleOfOnesOwnAroundTorchs) {
  torch::nn::Sequential model(torch::nn::Linear(2, 2), torch::nn::Conv1d(2, 2, 1));
  EXPECT_TRUE(throws([&] { anatomy_of(model); },
                     ". They are held by 0 of type torch::nn::Linear, for which no AnatomyOf was "
                     "run: specialise evenkeel::AnatomyOf for a module of your own that holds it"));
}

TEST_F(AnatomyBuilderTest, TakesOneRoleForAParameter) {
  Told model([](ToldImpl& m, AnatomyBuilder& anatomy) {
    anatomy.sublayer("feed_forward").input(m.a).output(m.a);
  });
  EXPECT_TRUE(
      throws([&] { anatomy_of(model); },
             "anatomy: a.weight was given two roles, feed-forward in and feed-forward out"));
}

TEST_F(AnatomyBuilderTest, TakesNoEmbeddingThatIsAlreadySomethingElse) {
  Told model([](ToldImpl& m, AnatomyBuilder& anatomy) {
    anatomy.sublayer("feed_forward").input(m.a);
    anatomy.embedding(m.a->weight);
  });
  EXPECT_TRUE(throws([&] { anatomy_of(model); },
                     "anatomy: a.weight was given two roles, feed-forward in and embedding"));
}

TEST_F(AnatomyBuilderTest, TakesNoTensorThatIsNoParameterOfTheModel) {
  Told model([](ToldImpl&, AnatomyBuilder& anatomy) {
    anatomy.sublayer("attention").value(torch::zeros({5, 3}));
  });
  EXPECT_TRUE(throws([&] { anatomy_of(model); },
                     "anatomy: a tensor of shape [5, 3] was given the role value, but is not a "
                     "parameter of "));
}

TEST_F(AnatomyBuilderTest, GivesTheRowsOfAPackedProjectionAsAView) {
  Told model([](ToldImpl& m, AnatomyBuilder& anatomy) {
    anatomy.sublayer("attention").query_key_value(m.a, 2, 2, 2).output(m.b);
    anatomy.gain(m.scale);
  });
  const auto anatomy = anatomy_of(model);
  const auto& value = anatomy.parameters[3];

  ASSERT_EQ(parameters_of(anatomy)[3], "a.weight[4:6]: value, encoder 0");
  value.rows().fill_(7.0);
  EXPECT_TRUE(test::same_bits(model->a->weight.detach().narrow(0, 4, 2), torch::full({2, 4}, 7.0)));
  EXPECT_FALSE(model->a->weight.detach().narrow(0, 0, 4).eq(7.0).any().item<bool>());
}

}  // namespace
}  // namespace evenkeel
