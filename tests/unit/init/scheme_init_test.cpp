// SPDX-License-Identifier: MIT
#include <evenkeel/init/scheme_init.hpp>

#include <evenkeel/core/depth_factors.hpp>
#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "blocks.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "formula.hpp"
#include "init_models.hpp"
#include "modules.hpp"
#include "open_model.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/modules/transformer.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::depths;
using test::throws;
using test::torch_transformer;
using test::within_sampling_error;

// No factor on Xavier-uniform matrices.
struct Normal {
  static constexpr const char* kTitle = "Normal";
  static Norms norms(const Position&) { return Norms::none(); }
  static Draw draw(Role role, const Position&) {
    return role == Role::kValue ? Draw::normal(0.02) : plain_draw(role);
  }
};

std::map<std::string, InitReportRow> by_name(const InitReport& report) {
  std::map<std::string, InitReportRow> rows;
  for (const auto& row : report.rows()) rows.insert_or_assign(row.name, row);
  return rows;
}

class SchemeInitTest : public test::SeededTest {};

TEST_F(SchemeInitTest, DrawsEveryParameterAsEverySchemeSays) {
  for (const auto& scheme : schemes()) {
    SCOPED_TRACE(scheme.title);
    test::OwnTransformer model(2, 3, /*tied=*/false);
    const auto anatomy = anatomy_of(model);
    const auto before = test::copy_of_state(*model);
    const auto report = SchemeInit<Scheme, test::OwnTransformer>(scheme, depths(2, 3))(model);

    ASSERT_EQ(report.rows().size(), anatomy.parameters.size());
    for (size_t i = 0; i < report.rows().size(); ++i) {
      const auto& parameter = anatomy.parameters[i];
      EXPECT_EQ(report.rows()[i].name, parameter.name);
      EXPECT_EQ(report.rows()[i].draw, scheme.draw(parameter.role, anatomy.position(parameter)));
    }
    EXPECT_TRUE(report.notes().empty());
    EXPECT_FALSE(test::has_state(*model, before));
  }
}

TEST_F(SchemeInitTest, IsOneInitWhetherTheSchemeIsAValueOrAType) {
  test::OwnStack a(3);
  test::OwnStack b(3);
  const auto options = InitOptions().decoder_layers(3);
  torch::manual_seed(1);
  SchemeInit<TFixup, test::OwnStack, test::OwnBlock> by_type(options);
  by_type(a);
  torch::manual_seed(1);
  SchemeInit<Scheme, test::OwnStack, test::OwnBlock> by_value(find_scheme("tfixup"), options);
  by_value(b);

  EXPECT_TRUE(test::same_state(*a, *b));
  EXPECT_EQ(by_type.scheme().name, by_value.scheme().name);
}

TEST_F(SchemeInitTest, GivesAUsersSchemeTheDepthsOfBothStacks) {
  test::OwnTransformer model(18, 6, /*tied=*/false);
  const auto report = SchemeInit<DeepNorm, test::OwnTransformer>(depths(18, 6))(model);
  const auto rows = by_name(report);

  for (const auto* const name : {"v", "o", "fc1", "fc2"}) {
    EXPECT_EQ(rows.at("encoder_17." + std::string(name) + ".weight").draw,
              Draw::xavier_normal(deepnorm_encoder_factors(18, 6).beta));
    EXPECT_EQ(rows.at("decoder_5." + std::string(name) + ".weight").draw,
              Draw::xavier_normal(deepnorm_decoder_factors(6).beta));
  }
  EXPECT_EQ(rows.at("decoder_0.q.weight").draw, Draw::xavier_normal());
  EXPECT_EQ(rows.at("decoder_0.q.bias").draw, Draw::zero());
}

// Both of Xavier's distributions have the variance gain^2 * 2 / fans.
TEST_F(SchemeInitTest, ScalesExistingWeightsToTheDeviationOfTheDraw) {
  auto packed = torch_transformer(2, 2);
  const auto of_torch =
      by_name(SchemeInit<DeepNorm, torch::nn::Transformer>(depths(2, 2).redraw(false))(packed));
  const double beta = deepnorm_encoder_factors(2, 2).beta;
  const std::string layer = "encoder.layers.0.";
  EXPECT_TRUE(all_close(of_torch.at(layer + "linear1.weight").draw.gain, beta));
  EXPECT_TRUE(all_close(of_torch.at(layer + "self_attn.in_proj_weight[8:12]").draw.gain,
                        beta * std::sqrt(2.0)));
  EXPECT_TRUE(
      all_close(of_torch.at(layer + "self_attn.in_proj_weight[0:4]").draw.gain, std::sqrt(2.0)));

  test::OwnTransformer separate(2, 2, /*tied=*/false);
  const auto before = separate->encoder_blocks[0]->v->weight.detach().clone();
  const auto own =
      by_name(SchemeInit<DeepNorm, test::OwnTransformer>(depths(2, 2).redraw(false))(separate));
  EXPECT_TRUE(all_close(own.at("encoder_0.v.weight").draw.gain, beta));
  EXPECT_EQ(own.at("encoder_0.q.weight").draw, Draw::keep());
  EXPECT_TRUE(all_close(separate->encoder_blocks[0]->v->weight.detach(), before * beta));
}

TEST_F(SchemeInitTest, KeepsEverythingOfASchemeThatDrawsPlainlyWithoutRedraw) {
  test::OwnTransformer model(2, 2, /*tied=*/false);
  test::randomise(*model);
  const auto before = test::copy_of_state(*model);
  SchemeInit<Admin, test::OwnTransformer>(depths(2, 2).redraw(false))(model);
  EXPECT_TRUE(test::has_state(*model, before));
}

TEST_F(SchemeInitTest, ScalesNoDrawThatIsNotAFactorAndChangesNothing) {
  test::OwnTransformer model(2, 2, /*tied=*/false);
  const auto before = test::copy_of_state(*model);
  EXPECT_TRUE(throws(
      [&] { SchemeInit<Normal, test::OwnTransformer>(depths(2, 2).redraw(false))(model); },
      "SchemeInit<Normal>: expected a draw of encoder_0.v.weight that is a factor on its existing "
      "weights, as redraw(false) scales them, but the scheme's is normal where a plain one is "
      "Xavier uniform; use redraw(true)"));
  EXPECT_TRUE(test::has_state(*model, before));
}

// A stack with norms, one of them without parameters.
test::OwnStack stack_with_norms() {
  test::OwnStack model(2);
  const auto norm = [](bool affine) {
    return torch::nn::LayerNorm(torch::nn::LayerNormOptions({4}).elementwise_affine(affine));
  };
  model->blocks[0]->register_module("norm1", norm(true));
  model->blocks[0]->register_module("norm2", norm(false));
  model->blocks[1]->register_module("norm1", norm(true));
  model->register_module("last", norm(true));
  return model;
}

TEST_F(SchemeInitTest, OfASchemeWithoutNormsRefusesAModelThatHasThem) {
  auto model = stack_with_norms();
  const auto before = test::copy_of_state(*model);
  const SchemeInit<TFixup, test::OwnStack, test::OwnBlock> init(InitOptions().decoder_layers(2));
  EXPECT_TRUE(throws([&] { init(model); },
                     "SchemeInit<T-Fixup>: expected a model without norms, as the scheme has none, "
                     "but "));
  EXPECT_TRUE(throws([&] { init(model); },
                     " has blocks.0.norm1, blocks.0.norm2, blocks.1.norm1 and 1 more. Remove them; "
                     "or initialise the model all the same, with InitOptions().allow_norms(true)"));
  EXPECT_TRUE(test::has_state(*model, before));
}

TEST_F(SchemeInitTest, NotesTheNormsThatTheOptionsAllow) {
  auto model = stack_with_norms();
  const auto options = InitOptions().decoder_layers(2).allow_norms(true);
  const auto report = SchemeInit<TFixup, test::OwnStack, test::OwnBlock>(options)(model);
  ASSERT_EQ(report.notes().size(), 1U);
  EXPECT_NE(report.to_string().find(
                "\nnote: T-Fixup has no norms, but the model has blocks.0.norm1, blocks.0.norm2, "
                "blocks.1.norm1 and 1 more. They rescale what they read"),
            std::string::npos);
  EXPECT_TRUE(
      all_close(by_name(report).at("blocks.0.v.weight").draw.gain, tfixup_decoder_factor(2)));
}

TEST_F(SchemeInitTest, OfASchemeWithNormsTakesAModelThatHasThem) {
  auto model = stack_with_norms();
  const SchemeInit<Admin, test::OwnStack, test::OwnBlock> init(InitOptions().decoder_layers(2));
  EXPECT_TRUE(init(model).notes().empty());
}

// Tokens and learned positions, in a model that describes neither.
test::OwnStack stack_with_positions() {
  test::OwnStack model(2);
  model->register_module("pos_emb",
                         torch::nn::Embedding(torch::nn::EmbeddingOptions(300, 64).padding_idx(1)));
  return model;
}

TEST_F(SchemeInitTest, DrawsLearnedPositionsAsNoTokensAndSaysThatItWentByTheName) {
  auto model = stack_with_positions();
  const auto report =
      SchemeInit<TFixup, test::OwnStack, test::OwnBlock>(InitOptions().decoder_layers(2))(model);
  const auto rows = by_name(report);
  EXPECT_EQ(rows.at("pos_emb.weight").role, Role::kPosition);
  EXPECT_TRUE(rows.at("pos_emb.weight").by_name);
  EXPECT_EQ(rows.at("pos_emb.weight").draw, Draw::fan_in_normal());
  EXPECT_EQ(rows.at("tokens.weight").draw, Draw::fan_in_normal(tfixup_embedding_factor(2)));
  EXPECT_FALSE(rows.at("tokens.weight").by_name);
  EXPECT_NE(report.to_string().find(
                "pos_emb.weight       position by name       [300, 64]  fan-in normal    1.0000"),
            std::string::npos)
      << report.to_string();

  const auto weight = model->named_parameters()["pos_emb.weight"].detach();
  EXPECT_TRUE(test::same_bits(weight[1], torch::zeros({64})));  // the padding token's
  const double n = 299.0 * 64.0;
  EXPECT_TRUE(within_sampling_error(weight.square().sum().item<double>() / n,
                                    1.0 / 64.0,
                                    std::sqrt(2.0 / n) / 64.0));
}

TEST_F(SchemeInitTest, TakesPositionsOfAnyShapeThatTheModelDescribes) {
  test::OpenModel model;
  const auto fc1 = model->add("fc1", torch::nn::Linear(64, 64));
  const auto fc2 = model->add("fc2", torch::nn::Linear(64, 64));
  const auto table = model->add("table", torch::ones({1, 300, 64}));
  model->tell = [&](AnatomyBuilder& anatomy) {
    anatomy.positions(table).sublayer("feed_forward").input(fc1).output(fc2);
  };
  const auto report = SchemeInit<TFixup, test::OpenModel>(InitOptions().encoder_layers(1))(model);
  EXPECT_EQ(by_name(report).at("table").role, Role::kPosition);
  EXPECT_FALSE(by_name(report).at("table").by_name);
  const double n = 300.0 * 64.0;
  EXPECT_TRUE(within_sampling_error(table.detach().square().sum().item<double>() / n,
                                    1.0 / 64.0,
                                    std::sqrt(2.0 / n) / 64.0));
}

TEST_F(SchemeInitTest, NeedsADepth) {
  EXPECT_TRUE(throws([] { SchemeInit<Admin, test::OwnTransformer> init{InitOptions()}; },
                     "SchemeInit<Admin O(logn)>: expected encoder_layers or decoder_layers > 0, "
                     "but got 0 and 0"));
}

TEST_F(SchemeInitTest, OfOtherDepthsThanTheModelsChangesNothing) {
  test::OwnStack model(3);
  const auto before = test::copy_of_state(*model);
  const SchemeInit<Admin, test::OwnStack, test::OwnBlock> init(InitOptions().decoder_layers(2));
  EXPECT_TRUE(throws([&] { init(model); },
                     "SchemeInit<Admin O(logn)>: expected 0 encoder and 2 decoder layers, as the "
                     "options say, but "));
  EXPECT_TRUE(test::has_state(*model, before));
}

}  // namespace
}  // namespace evenkeel
