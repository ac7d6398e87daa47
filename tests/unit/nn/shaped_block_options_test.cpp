// SPDX-License-Identifier: MIT
#include <evenkeel/nn/shaped_block_options.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"

#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/language_model.hpp>
#include <evenkeel/residual/registry.hpp>

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::nn {
namespace {

constexpr int64_t kTiedLayers = 3;

StackOptions tied_stack(const std::string& block, const ShapedBlockOptions& shaped) {
  return StackOptions(kTiedLayers, 8, 2, 16)
      .cross_attention(false)
      .bias(false)
      .block(block)
      .shaped(shaped);
}

std::vector<ShapedAttention> attentions_of(const Decoder<>& decoder) {
  return detail::shaped_attentions(decoder->layers);
}

class ShapedBlockOptionsTest : public test::SeededTest {};

TEST_F(ShapedBlockOptionsTest, BeginOutputsAsTheTransposeOfTheirValues) {
  for (const char* block : {"sas", "sas-p", "value-skipinit"}) {
    for (const auto init : {MatrixInit::kOrthogonal, MatrixInit::kNormal}) {
      SCOPED_TRACE(std::string(block) + " " + to_string(init));
      const auto how = Projection::reparam(init);
      Decoder<> decoder(
          find_scheme("pre"),
          tied_stack(block,
                     ShapedBlockOptions().value(how).output(how).tied_init(TiedInit::kAllLayers)));
      const auto attentions = attentions_of(decoder);
      ASSERT_EQ(attentions.size(), size_t{kTiedLayers});
      torch::Tensor before;
      for (int round = 0; round < 2; ++round) {
        for (const auto& attention : attentions) {
          EXPECT_TRUE(test::same_bits(attention->out_reparam->init_weight,
                                      attention->v_reparam->init_weight.t()));
        }
        EXPECT_FALSE(torch::equal(attentions[0]->v_reparam->init_weight,
                                  attentions[1]->v_reparam->init_weight));
        if (round == 1) {
          EXPECT_FALSE(torch::equal(attentions[0]->v_reparam->init_weight, before));
        }
        before = attentions[0]->v_reparam->init_weight.clone();
        decoder->reset_parameters();
      }
    }
  }
}

TEST_F(ShapedBlockOptionsTest, BeginTheLastOutputAsWhatUndoesAllOthers) {
  const auto how = Projection::reparam(MatrixInit::kOrthogonal);
  const auto options = ShapedBlockOptions().value(how).tied_init(TiedInit::kLastLayer);
  for (const auto& shaped :
       {ShapedBlockOptions(options).output(how), ShapedBlockOptions(options).last_output(how)}) {
    const Decoder<> decoder(find_scheme("pre"), tied_stack("sas-p", shaped));
    auto product = torch::eye(8);
    for (const auto& attention : attentions_of(decoder)) {
      product = attention->v_reparam->init_weight.matmul(product);
      if (!attention->out_reparam.is_empty()) {
        product = attention->out_reparam->init_weight.matmul(product);
      }
    }
    EXPECT_TRUE(test::all_close(product, torch::eye(8)));
  }
}

TEST_F(ShapedBlockOptionsTest, WithoutATieMatricesAreDrawnApart) {
  const auto how = Projection::reparam(MatrixInit::kOrthogonal);
  const Decoder<> decoder(find_scheme("pre"),
                          tied_stack("sas", ShapedBlockOptions().value(how).output(how)));
  const auto attention = attentions_of(decoder).front();
  EXPECT_FALSE(
      test::all_close(attention->out_reparam->init_weight, attention->v_reparam->init_weight.t()));
}

TEST_F(ShapedBlockOptionsTest, ChooseTheMatricesOfTheFirstAndTheLastLayer) {
  const auto matrices = [](const ShapedBlockOptions& options) {
    std::string text;
    for (const auto& attention :
         attentions_of(Decoder<>(find_scheme("pre"), tied_stack("sas", options)))) {
      text += text.empty() ? "" : "; ";
      text += to_string(attention->shape.value()) + ", " + to_string(attention->shape.output());
    }
    return text;
  };
  const auto linear = Projection::linear();
  const auto normal = Projection::reparam(MatrixInit::kNormal);
  EXPECT_EQ(matrices(ShapedBlockOptions()),
            "reparam identity, identity; identity, identity; identity, identity");
  EXPECT_EQ(matrices(ShapedBlockOptions().first_value(Projection::identity())),
            "identity, identity; identity, identity; identity, identity");
  EXPECT_EQ(matrices(ShapedBlockOptions().last_output(linear)),
            "reparam identity, identity; identity, identity; identity, linear");
  EXPECT_EQ(matrices(ShapedBlockOptions().value(normal).output(linear).last_output(
                Projection::identity())),
            "reparam normal, linear; reparam normal, linear; reparam normal, identity");
}

TEST_F(ShapedBlockOptionsTest, TurnTheCentreOfAttentionOff) {
  for (const bool centred : {true, false}) {
    const Decoder<> decoder(find_scheme("pre"),
                            tied_stack("sas", ShapedBlockOptions().centred(centred)));
    for (const auto& attention : attentions_of(decoder)) {
      EXPECT_EQ(attention->gamma.defined(), centred);
      EXPECT_EQ(attention->shape.centred(), centred);
    }
  }
  const Decoder<> never(find_scheme("pre"),
                        tied_stack("value-skipinit", ShapedBlockOptions().centred(true)));
  EXPECT_FALSE(attentions_of(never).front()->gamma.defined());
}

TEST_F(ShapedBlockOptionsTest, AreThoseOfAModelToo) {
  const LanguageModel<> model(find_scheme("pre"),
                              LanguageModelOptions()
                                  .num_layers(2)
                                  .embed_dim(8)
                                  .num_heads(2)
                                  .dim_feedforward(16)
                                  .vocab_size(20)
                                  .block("sas")
                                  .shaped(ShapedBlockOptions().last_output(Projection::linear())));
  const auto attentions = attentions_of(model->decoder);
  EXPECT_TRUE(attentions[0]->out_proj.is_empty());
  EXPECT_FALSE(attentions[1]->out_proj.is_empty());
}

TEST_F(ShapedBlockOptionsTest, NameWhatTheyNeed) {
  const auto construct = [](const char* block, const ShapedBlockOptions& shaped) {
    return [=] { Decoder<>(find_scheme("pre"), tied_stack(block, shaped)); };
  };
  const auto how = Projection::reparam(MatrixInit::kOrthogonal);
  EXPECT_TRUE(test::throws(
      construct("op", ShapedBlockOptions()),
      "block op: expected a block with shaped attention, such as sas, for the option shaped"));
  EXPECT_TRUE(test::throws(
      construct("sas", ShapedBlockOptions().value(how).tied_init(TiedInit::kAllLayers)),
      "block sas: expected value and output matrices Projection::reparam that begin orthogonal or "
      "normal in all layers, for tied_init, but got reparam orthogonal and identity in layer 0"));
  EXPECT_TRUE(test::throws(
      construct("sas", ShapedBlockOptions().value(how).tied_init(TiedInit::kLastLayer)),
      "block sas: expected no Projection::linear, and an output matrix of the last layer that "
      "begins orthogonal or normal, for tied_init, but got reparam orthogonal and identity in "
      "layer 2"));
  EXPECT_TRUE(test::throws(construct("sas-p",
                                     ShapedBlockOptions()
                                         .output(how)
                                         .first_value(Projection::linear())
                                         .tied_init(TiedInit::kLastLayer)),
                           "but got linear and reparam orthogonal in layer 0"));
}

}  // namespace
}  // namespace evenkeel::nn
