// SPDX-License-Identifier: MIT
#include <evenkeel/init/tfixup_init.hpp>

#include "all_close.hpp"
#include "blocks.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "init_models.hpp"
#include "modules.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/transformer.h>
#include <torch/nn/options/transformer.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::depths;
using test::throws;
using test::torch_transformer;

double gain_of(const InitReport& report, const std::string& name) {
  for (const auto& row : report.rows()) {
    if (row.name == name) return row.draw.gain;
  }
  ADD_FAILURE() << name << " is not in the report";
  return 0.0;
}

// Expected values: .67 N^(-1/4) and (9M)^(-1/4), times sqrt(2) for values, by mpmath 1.3.0 with 40
// digits; what is printed are the factors of layer6ai-labs/T-Fixup to four places.
struct DepthCase {
  const char* name;
  int64_t layers;
  double encoder;
  double encoder_value;
  double decoder;
  double decoder_value;
  const char* printed;
  friend std::ostream& operator<<(std::ostream& os, const DepthCase& c) { return os << c.name; }
};

class TFixupDepthTest : public test::SeededTest, public ::testing::WithParamInterface<DepthCase> {};

TEST_P(TFixupDepthTest, ScalesTorchsPackedProjectionsAsTheReferenceDoes) {
  const auto& c = GetParam();
  auto model = torch_transformer(c.layers, c.layers);
  const auto report = TFixupInit<torch::nn::Transformer>(
      depths(c.layers, c.layers).redraw(false).allow_norms(true))(model);
  const auto last = fmt::format(".layers.{}.", c.layers - 1);

  for (const auto* const name : {"self_attn.out_proj.weight", "linear1.weight", "linear2.weight"}) {
    EXPECT_TRUE(all_close(gain_of(report, "encoder.layers.0." + std::string(name)), c.encoder));
    EXPECT_TRUE(all_close(gain_of(report, "decoder" + last + name), c.decoder));
  }
  EXPECT_TRUE(
      all_close(gain_of(report, "decoder" + last + "multihead_attn.out_proj.weight"), c.decoder));
  const double encoder_value = gain_of(report, "encoder" + last + "self_attn.in_proj_weight[8:12]");
  const double decoder_value =
      gain_of(report, "decoder.layers.0.multihead_attn.in_proj_weight[8:12]");
  EXPECT_TRUE(all_close(encoder_value, c.encoder_value));
  EXPECT_TRUE(all_close(decoder_value, c.decoder_value));
  EXPECT_EQ(gain_of(report, "encoder.layers.0.self_attn.in_proj_weight[0:4]"), 1.0);
  EXPECT_EQ(gain_of(report, "encoder.layers.0.self_attn.in_proj_weight[4:8]"), 1.0);
  EXPECT_EQ(gain_of(report, "encoder.layers.0.self_attn.in_proj_bias[0:4]"), 1.0);
  EXPECT_EQ(gain_of(report, "encoder.layers.0.norm1.weight"), 1.0);
  EXPECT_EQ(fmt::format("{:.4f} {:.4f} {:.4f} {:.4f}",
                        gain_of(report, "encoder.layers.0.linear1.weight"),
                        gain_of(report, "decoder.layers.0.linear1.weight"),
                        encoder_value,
                        decoder_value),
            c.printed);
}

INSTANTIATE_TEST_SUITE_P(TFixup,
                         TFixupDepthTest,
                         ::testing::Values(DepthCase{"Layers6",
                                                     6,
                                                     .42809187984500255882,
                                                     .60541334241859603741,
                                                     .3688939732334405308,
                                                     .52169486002442910553,
                                                     "0.4281 0.3689 0.6054 0.5217"},
                                           DepthCase{"Layers18",
                                                     18,
                                                     .32527948704390669159,
                                                     .4600146621392562988,
                                                     .28029880508457151434,
                                                     .39640237166757368891,
                                                     "0.3253 0.2803 0.4600 0.3964"},
                                           DepthCase{"Layers100",
                                                     100,
                                                     .21187260323128141524,
                                                     .29963310898497181932,
                                                     .18257418583505537115,
                                                     .25819888974716112568,
                                                     "0.2119 0.1826 0.2996 0.2582"},
                                           DepthCase{"Layers200",
                                                     200,
                                                     .17816291254765711864,
                                                     .25196040723678836906,
                                                     .15352597838656356906,
                                                     .21711852081087686033,
                                                     "0.1782 0.1535 0.2520 0.2171"}),
                         ::testing::PrintToStringParamName());

class TFixupInitTest : public test::DeviceTest {
 protected:
  static test::OwnTransformer own(int64_t encoder_layers, int64_t decoder_layers, bool tied) {
    test::OwnTransformer model(encoder_layers, decoder_layers, tied);
    model->to(device());
    return model;
  }
};

constexpr double kEncoder6 = .42809187984500255882;
constexpr double kEmbedding6 = .3688939732334405308;  // (9 * 6)^(-1/4), also the decoder's
constexpr double kDecoder18 = .28029880508457151434;

TEST_P(TFixupInitTest, TakesEachStacksOwnDepth) {
  auto model = own(6, 18, /*tied=*/false);
  const auto report = TFixupInit<test::OwnTransformer>(depths(6, 18).redraw(false))(model);

  EXPECT_TRUE(all_close(gain_of(report, "encoder_5.fc1.weight"), kEncoder6));
  EXPECT_TRUE(all_close(gain_of(report, "decoder_17.fc1.weight"), kDecoder18));
  EXPECT_TRUE(all_close(gain_of(report, "src.weight"), kEmbedding6));
  EXPECT_TRUE(all_close(gain_of(report, "tgt.weight"), kDecoder18));
  EXPECT_EQ(gain_of(report, "head.weight"), 1.0);
}

TEST_P(TFixupInitTest, ScalesASharedEmbeddingOnceAndAsTheEncoders) {
  auto model = own(6, 18, /*tied=*/true);
  const auto before = model->src->weight.detach().clone();
  const auto report = TFixupInit<test::OwnTransformer>(depths(6, 18).redraw(false))(model);

  EXPECT_TRUE(all_close(gain_of(report, "src.weight"), kEmbedding6));
  EXPECT_TRUE(all_close(model->src->weight.detach(), before * kEmbedding6));
  EXPECT_TRUE(test::same_bits(model->tgt->weight, model->src->weight));
}

TEST_P(TFixupInitTest, ScalesPresentWeightsExactlyAndNothingElse) {
  auto model = own(6, 18, /*tied=*/false);
  test::randomise(*model);
  auto before = test::copy_of_state(*model);
  TFixupInit<test::OwnTransformer>(depths(6, 18).redraw(false))(model);

  const auto names = test::state_names(*model);
  for (size_t i = 0; i < before.size(); ++i) {
    const auto& name = names[i];
    const auto ends = [&](const std::string& end) {
      return name.size() >= end.size() && name.substr(name.size() - end.size()) == end;
    };
    const bool scaled =
        ends(".v.weight") || ends(".o.weight") || ends(".fc1.weight") || ends(".fc2.weight");
    const double encoder = tfixup_encoder_factor(6);
    const double decoder = tfixup_decoder_factor(18);
    if (scaled) before[i].mul_(name[0] == 'e' ? encoder : decoder);
    if (name == "src.weight") before[i].mul_(tfixup_embedding_factor(6));
    if (name == "tgt.weight") before[i].mul_(tfixup_embedding_factor(18));
  }
  EXPECT_TRUE(test::has_state(*model, before));
}

TEST_P(TFixupInitTest, ScalesTheValueThirdOfPackedProjectionsAlone) {
  auto model = torch_transformer(6, 18);
  model->to(device());
  const auto weight = model->named_parameters()["encoder.layers.3.self_attn.in_proj_weight"];
  const auto before = weight.detach().clone();
  TFixupInit<torch::nn::Transformer>(depths(6, 18).redraw(false).allow_norms(true))(model);

  EXPECT_TRUE(test::same_bits(weight.detach().narrow(0, 0, 8), before.narrow(0, 0, 8)));
  EXPECT_TRUE(all_close(weight.detach().narrow(0, 8, 4),
                        before.narrow(0, 8, 4) * kEncoder6 * std::sqrt(2.0)));
}

TEST_P(TFixupInitTest, ReadsAnEncoderAlone) {
  test::OwnStack model(6);
  model->to(device());
  const auto report = TFixupInit<test::OwnStack, test::OwnBlock>(
      TFixupOptions().encoder_layers(6).redraw(false))(model);

  EXPECT_TRUE(all_close(gain_of(report, "blocks.5.fc2.weight"), kEncoder6));
  EXPECT_TRUE(all_close(gain_of(report, "blocks.5.v.weight"), kEncoder6));
  EXPECT_TRUE(all_close(gain_of(report, "tokens.weight"), kEmbedding6));
}

TEST_P(TFixupInitTest, ReadsADecoderAlone) {
  test::OwnStack model(6);
  model->to(device());
  const auto report = TFixupInit<test::OwnStack, test::OwnBlock>(
      TFixupOptions().decoder_layers(6).redraw(false))(model);

  EXPECT_TRUE(all_close(gain_of(report, "blocks.5.fc2.weight"), kEmbedding6));  // (9 * 6)^(-1/4)
  EXPECT_TRUE(all_close(gain_of(report, "tokens.weight"), kEmbedding6));
}

TEST_P(TFixupInitTest, CountsAValueAsOfGainOneWhenItIsDrawn) {
  test::OwnStack model(6);
  model->to(device());
  const auto report =
      TFixupInit<test::OwnStack, test::OwnBlock>(TFixupOptions().encoder_layers(6))(model);

  EXPECT_TRUE(all_close(gain_of(report, "blocks.0.v.weight"), kEncoder6));
  EXPECT_TRUE(all_close(gain_of(report, "blocks.0.o.weight"), kEncoder6));
  EXPECT_EQ(gain_of(report, "blocks.0.q.weight"), std::sqrt(0.5));
}

EVENKEEL_ON_EVERY_DEVICE(TFixupInitTest);

// torch::nn::Transformer's layers are clones of one layer.
TEST(TFixupRedrawTest, MakesLayersThatDifferAndHaveTheRightDeviations) {
  torch::manual_seed(0);
  constexpr int64_t kDim = 64;
  constexpr int64_t kInner = 128;
  torch::nn::Transformer model(torch::nn::TransformerOptions(kDim, 4)
                                   .num_encoder_layers(6)
                                   .num_decoder_layers(18)
                                   .dim_feedforward(kInner));
  const auto parameters = model->named_parameters();
  const auto weight = [&](const std::string& name) {
    return parameters[name].detach().to(torch::kFloat64);
  };
  TFixupInit<torch::nn::Transformer>{depths(6, 18).allow_norms(true)}(model);

  for (const auto* const name : {"self_attn.in_proj_weight",
                                 "self_attn.out_proj.weight",
                                 "linear1.weight",
                                 "linear2.weight"}) {
    EXPECT_FALSE(all_close(weight(std::string("encoder.layers.0.") + name),
                           weight(std::string("encoder.layers.1.") + name)))
        << name;
  }

  // Over all layers of a stack, beside the variance 2 / (fan in + fan out) of Xavier's rule.
  const auto expect_deviation = [&](const std::string& stack,
                                    int64_t layers,
                                    const std::string& name,
                                    int64_t first_row,
                                    int64_t rows,
                                    double factor) {
    SCOPED_TRACE(stack + " " + name);
    std::vector<torch::Tensor> all;
    for (int64_t i = 0; i < layers; ++i) {
      all.push_back(
          weight(fmt::format("{}.layers.{}.{}", stack, i, name)).narrow(0, first_row, rows));
    }
    const auto sample = torch::stack(all);
    const auto fans = static_cast<double>(rows + sample.size(2));
    const double variance = factor * factor * 2.0 / fans;
    EXPECT_TRUE(test::within_sampling_error(
        sample.square().mean().item<double>(),
        variance,
        variance * std::sqrt(0.8 / static_cast<double>(sample.numel()))));
  };
  const double half = 1.0 / std::sqrt(2.0);  // gain of query and key
  expect_deviation("encoder", 6, "self_attn.in_proj_weight", 0, kDim, half);
  expect_deviation("encoder", 6, "self_attn.in_proj_weight", kDim, kDim, half);
  expect_deviation("encoder", 6, "self_attn.in_proj_weight", 2 * kDim, kDim, kEncoder6);
  expect_deviation("encoder", 6, "self_attn.out_proj.weight", 0, kDim, kEncoder6);
  expect_deviation("encoder", 6, "linear1.weight", 0, kInner, kEncoder6);
  expect_deviation("encoder", 6, "linear2.weight", 0, kDim, kEncoder6);
  expect_deviation("decoder", 18, "self_attn.in_proj_weight", 0, kDim, half);
  expect_deviation("decoder", 18, "self_attn.in_proj_weight", 2 * kDim, kDim, kDecoder18);
  expect_deviation("decoder", 18, "multihead_attn.in_proj_weight", kDim, kDim, half);
  expect_deviation("decoder", 18, "multihead_attn.in_proj_weight", 2 * kDim, kDim, kDecoder18);
  expect_deviation("decoder", 18, "multihead_attn.out_proj.weight", 0, kDim, kDecoder18);
  expect_deviation("decoder", 18, "linear1.weight", 0, kInner, kDecoder18);
  expect_deviation("decoder", 18, "linear2.weight", 0, kDim, kDecoder18);
}

TEST(TFixupReportTest, PrintsWhatWasScaled) {
  test::OwnStack model(6);
  const auto table = TFixupInit<test::OwnStack, test::OwnBlock>(
                         TFixupOptions().encoder_layers(6).redraw(false))(model)
                         .to_string();
  EXPECT_EQ(table.substr(0, table.find("blocks.1")),
            "parameter            role                       shape  distribution       gain\n"
            "tokens.weight        embedding                [10, 4]  kept             0.3689\n"
            "blocks.0.v.weight    value                     [4, 4]  kept             0.4281\n"
            "blocks.0.o.weight    attention output          [4, 4]  kept             0.4281\n"
            "blocks.0.fc1.weight  feed-forward in           [6, 4]  kept             0.4281\n"
            "blocks.0.fc2.weight  feed-forward out          [4, 6]  kept             0.4281\n");
}

TEST(TFixupErrorTest, NeedsADepth) {
  EXPECT_TRUE(throws(
      [] { TFixupInit<test::OwnTransformer> init{TFixupOptions()}; },
      "SchemeInit<T-Fixup>: expected encoder_layers or decoder_layers > 0, but got 0 and 0"));
  EXPECT_TRUE(throws(
      [] { TFixupInit<test::OwnTransformer> init(depths(-1, 6)); },
      "SchemeInit<T-Fixup>: expected encoder_layers or decoder_layers > 0, but got -1 and 6"));
}

TEST(TFixupErrorTest, OfOtherDepthsThanTheModelsChangesNothing) {
  test::OwnTransformer model(2, 3, /*tied=*/false);
  const auto before = test::copy_of_state(*model);
  EXPECT_TRUE(
      throws([&] { TFixupInit<test::OwnTransformer>(depths(3, 2))(model); },
             "SchemeInit<T-Fixup>: expected 3 encoder and 2 decoder layers, as the options say, "
             "but "));
  EXPECT_TRUE(test::has_state(*model, before));
}

TEST(TFixupErrorTest, OfAParameterWithoutARoleChangesNothing) {
  test::OwnStack model(2);
  const auto before = test::copy_of_state(*model);
  EXPECT_TRUE(throws([&] { TFixupInit<test::OwnStack>(TFixupOptions().encoder_layers(2))(model); },
                     "these have none: blocks.0.q.weight, blocks.0.q.bias, "));
  EXPECT_TRUE(test::has_state(*model, before));
}

}  // namespace
}  // namespace evenkeel
