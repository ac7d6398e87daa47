// SPDX-License-Identifier: MIT
#include <evenkeel/anatomy/anatomy_builder.hpp>

#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/residual/admin_residual.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/residual.hpp>

#include "anatomy_table.hpp"
#include "blocks.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"
#include "open_model.hpp"
#include "rms_norm.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/moduledict.h>
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

// A norm of a user's own that only its type's name says to be one.
class UnmarkedNormImpl : public torch::nn::Cloneable<UnmarkedNormImpl> {
 public:
  explicit UnmarkedNormImpl(int64_t embed_dim_) : embed_dim(embed_dim_) { reset(); }
  void reset() override { weight = register_parameter("weight", torch::ones({embed_dim})); }
  torch::Tensor forward(const torch::Tensor& x) { return x * weight; }
  int64_t embed_dim;
  torch::Tensor weight;
};
TORCH_MODULE(UnmarkedNorm);

TEST_F(AnatomyBuilderTest, KnowsANormByItsBaseClassAndNotByTheNameOfItsType) {
  torch::nn::Sequential model(test::RmsNorm(4), UnmarkedNorm(4));
  EXPECT_TRUE(throws([&] { anatomy_of(model); }, "these have none: 1.weight. "));
  EXPECT_TRUE(throws([&] { anatomy_of(model); },
                     "UnmarkedNorm is a norm, let its Impl derive from evenkeel::NormModule"));

  Told described([](ToldImpl& m, AnatomyBuilder& anatomy) { anatomy.unscaled(m.a).unscaled(m.b); });
  EXPECT_TRUE(throws([&] { anatomy_of(described); },
                     "a norm of your own with norm(...), unless its class derives from "
                     "evenkeel::NormModule"));
}

TEST_F(AnatomyBuilderTest, KnowsTheNormsAndGainsOfResidualsWhateverTheirType) {
  Told model([](ToldImpl& m, AnatomyBuilder& anatomy) {
    anatomy.unscaled(m.a).unscaled(m.b).unscaled(m.scale);
  });
  const ResidualOptions options(Position::of(2), 4);
  model->register_module("first", Residual<PreNorm, UnmarkedNorm>(options));
  model->register_module(
      "second",
      AdminResidual<>(AdminResidualOptions(2).as_parameter(true).embed_dim(4).norm(
          NormType::of<UnmarkedNorm>())));
  const auto anatomy = anatomy_of(model);
  const auto lines = parameters_of(anatomy);
  EXPECT_EQ(Lines(lines.begin() + 5, lines.end()),
            (Lines{"first.norm.weight: norm, encoder",
                   "second.omega: gain, encoder",
                   "second.norm.weight: norm, encoder"}));
  EXPECT_EQ(anatomy.norms, (Lines{"first.norm", "second.norm"}));
}

TEST_F(AnatomyBuilderTest, NamesTheModelsNorms) {
  Told model([](ToldImpl& m, AnatomyBuilder& anatomy) {
    anatomy.unscaled(m.a).unscaled(m.b).norm(m.scale);
  });
  model->register_module(
      "fixed",
      torch::nn::LayerNorm(torch::nn::LayerNormOptions({4}).elementwise_affine(false)));
  model->register_module("tanh", DyT(4));
  EXPECT_EQ(anatomy_of(model).norms, (Lines{"fixed", "tanh", "scale"}));
}

TEST_F(AnatomyBuilderTest, TellsPositionsFromTokensByAWordOfTheName) {
  for (const std::string name :
       {"pos_emb", "embed_positions", "wpe", "PositionEmbedding", "posEmb"}) {
    torch::nn::ModuleDict model;
    model->update({{name, torch::nn::Embedding(4, 2).ptr()}});
    const auto parameter = anatomy_of(model).parameters.front();
    EXPECT_EQ(parameter.role, Role::kPosition) << name;
    EXPECT_TRUE(parameter.by_name) << name;
  }
  for (const std::string name : {"tokens", "wte", "post_embedding", "composed"}) {
    torch::nn::ModuleDict model;
    model->update({{name, torch::nn::Embedding(4, 2).ptr()}});
    const auto parameter = anatomy_of(model).parameters.front();
    EXPECT_EQ(parameter.role, Role::kEmbedding) << name;
    EXPECT_FALSE(parameter.by_name) << name;
  }
}

TEST_F(AnatomyBuilderTest, TakesTheRoleThatIsDescribedBeforeThatOfTheName) {
  test::OpenModel model;
  const auto tokens = model->add("position_of_tokens", torch::nn::Embedding(4, 2));
  const auto places = model->add("places", torch::nn::Embedding(4, 2));
  const auto anatomy =
      anatomy_told(model, [&](AnatomyBuilder& told) { told.embedding(tokens).positions(places); });
  EXPECT_EQ(
      parameters_of(anatomy),
      (Lines{"position_of_tokens.weight: embedding, encoder", "places.weight: position, encoder"}));
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
      "SchemeInit<Scheme, evenkeel::test::OwnStack, evenkeel::test::OwnBlock>; or specialise "
      "evenkeel::AnatomyOf<evenkeel::test::OwnStack> and describe there which blocks are the "
      "encoder(...) and which the decoder(...). If evenkeel::test::OwnBlock is a norm, let its "
      "Impl derive from evenkeel::NormModule instead. No AnatomyOf was run at all"));
}

TEST_F(AnatomyBuilderTest, SaysThatAnImplDoesNotNameItsHolder) {
  test::OwnTransformer model(1, 1, /*tied=*/false);
  EXPECT_NO_THROW(anatomy_of<test::OwnBlock>(model));
  EXPECT_TRUE(throws([&] { anatomy_of<test::OwnBlock>(*model); },
                     "where that is done, pass the evenkeel::test::OwnTransformer instead of its "
                     "Impl, or name the type, as in anatomy_of<evenkeel::test::OwnTransformer>"));
  EXPECT_NO_THROW((anatomy_of<test::OwnTransformer, test::OwnBlock>(*model)));
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
