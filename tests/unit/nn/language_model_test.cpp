// SPDX-License-Identifier: MIT
#include <evenkeel/nn/language_model.hpp>

#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/residual/observer.hpp>
#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <string>
#include <vector>

namespace evenkeel::nn {
namespace {

using test::all_close;
using test::same_bits;
using test::throws;

constexpr int64_t kWords = 11;

LanguageModelOptions small_model() {
  return LanguageModelOptions()
      .num_layers(2)
      .embed_dim(8)
      .num_heads(2)
      .dim_feedforward(12)
      .vocab_size(kWords)
      .dropout(0.0);
}

class LanguageModelTest : public test::DeviceTest {
 protected:
  static torch::Tensor ids(std::initializer_list<int64_t> row) {
    return torch::tensor(std::vector<int64_t>(row)).unsqueeze(0).to(device());
  }
  static LanguageModel<> make(const std::string& scheme,
                              const LanguageModelOptions& of = small_model()) {
    LanguageModel<> model(find_scheme(scheme), of);
    test::randomise(*model);
    model->to(device());
    return model;
  }
};

TEST_P(LanguageModelTest, SeesNoLaterTokenInAnyScheme) {
  for (const auto& scheme : schemes()) {
    SCOPED_TRACE(scheme.title);
    auto model = make(scheme.name);
    const auto logits = model(ids({1, 2, 3, 4}));
    EXPECT_EQ(logits.sizes(), (std::vector<int64_t>{1, 4, kWords}));
    const auto other = model(ids({1, 2, 3, 9}));
    EXPECT_TRUE(all_close(other.narrow(1, 0, 3), logits.narrow(1, 0, 3)));
    EXPECT_FALSE(all_close(other, logits));
  }
}

TEST_P(LanguageModelTest, StepsOfAnyLengthEqualTheWhole) {
  for (const std::string scheme : {"pre", "admin", "tfixup"}) {
    auto model = make(scheme);
    const auto tokens = ids({1, 2, 3, 4, 5, 6});
    const auto whole = model(tokens);
    for (const std::vector<int64_t>& steps :
         {std::vector<int64_t>{1, 1, 1, 1, 1, 1}, {3, 2, 1}, {2, 4}, {6}}) {
      DecoderCache cache;
      std::vector<torch::Tensor> parts;
      int64_t at = 0;
      for (const auto step : steps) {
        parts.push_back(model->project(model->decode(tokens.narrow(1, at, step), &cache)));
        at += step;
      }
      EXPECT_EQ(cache.length, 6);
      EXPECT_TRUE(all_close(torch::cat(parts, 1), whole)) << scheme << " " << steps.size();
    }
  }
}

TEST_P(LanguageModelTest, TakesPaddingOnEitherSideWhereToldTo) {
  auto model = make("admin", small_model().pad_id(0).padding(PaddingSide::kEither));
  const auto alone = model(ids({1, 2, 3}));
  const auto left = ids({0, 0, 1, 2, 3});
  EXPECT_TRUE(all_close(model(left).narrow(1, 2, 3), alone));
  EXPECT_TRUE(all_close(model(ids({1, 2, 3, 0, 0})).narrow(1, 0, 3), alone));
  EXPECT_TRUE(model(left).isfinite().all().item<bool>());
  DecoderCache cache;  // and step by step
  model->decode(left.narrow(1, 0, 3), &cache);
  EXPECT_TRUE(all_close(model->project(model->decode(left.narrow(1, 3, 2), &cache)),
                        alone.narrow(1, 1, 2)));
}

TEST_P(LanguageModelTest, AddsLearnedPositionsWhereItHasThem) {
  auto model = make("post", small_model().learned_positions(6));
  EXPECT_TRUE(model->positions.is_empty());
  const auto tokens = ids({1, 2, 3, 4, 5, 6});
  torch::Tensor input;
  {
    const Observer watch([&](const SublayerEvent& event) {
      if (event.position.index == 0) input = event.input;
    });
    model(tokens);
  }
  EXPECT_TRUE(
      all_close(input[0],
                model->embedding(tokens[0]) * std::sqrt(8.0) + model->position_embedding->weight));
  model(tokens).sum().backward();
  EXPECT_TRUE(model->position_embedding->weight.grad().defined());

  const auto whole = model(tokens);
  DecoderCache cache;
  const auto first = model->project(model->decode(tokens.narrow(1, 0, 2), &cache));
  const auto rest = model->project(model->decode(tokens.narrow(1, 2, 4), &cache));
  EXPECT_TRUE(all_close(torch::cat({first, rest}, 1), whole));
  EXPECT_TRUE(throws([&] { model->decode(tokens.narrow(1, 0, 1), &cache); },
                     "LanguageModel: expected at most 6 tokens, as there are so many learned "
                     "positions, but got 7"));
  EXPECT_EQ(cache.length, 6);

  auto copy = test::clone_of(model);
  EXPECT_TRUE(test::same_state(*copy, *model));
  EXPECT_TRUE(test::shares_nothing(*copy, *model));
  EXPECT_TRUE(same_bits(copy(tokens), whole));
  copy->reset_parameters();
  EXPECT_FALSE(all_close(copy->position_embedding->weight, model->position_embedding->weight));
}

TEST_P(LanguageModelTest, LearnedPositionsCountTokensAloneWithPaddingOnTheLeft) {
  auto model =
      make("admin", small_model().pad_id(0).padding(PaddingSide::kEither).learned_positions(5));
  EXPECT_TRUE(all_close(model(ids({0, 0, 1, 2, 3})).narrow(1, 2, 3), model(ids({1, 2, 3}))));
}

TEST_P(LanguageModelTest, LearnedPositionsAreDrawnAsTheSchemeHasThem) {
  auto scheme = find_scheme("pre");
  scheme.draw = [](Role role, const Position&) {
    return role == Role::kPosition ? Draw::normal(0.5) : plain_draw(role);
  };
  LanguageModel<> model(scheme, small_model().learned_positions(4000));
  EXPECT_NEAR(model->position_embedding->weight.std().item<double>(), 0.5, 0.02);
  const auto anatomy = anatomy_of(model, Stack::kDecoder);
  int tables = 0;
  for (const auto& parameter : anatomy.parameters) tables += parameter.role == Role::kPosition;
  EXPECT_EQ(tables, 1);
}

TEST_P(LanguageModelTest, TiesItsHeadOrHasOneOfItsOwn) {
  auto tied = make("admin");
  EXPECT_TRUE(tied->head.is_empty());
  auto untied = make("admin", small_model().tie_embeddings(false));
  EXPECT_TRUE(
      all_close(untied(ids({1, 2})), untied->decode(ids({1, 2})).matmul(untied->head->weight.t())));
  const auto anatomy = anatomy_of(untied, Stack::kDecoder);
  EXPECT_EQ(anatomy.decoder_layers, 2);
  EXPECT_EQ(anatomy.encoder_layers, 0);
  EXPECT_EQ(anatomy.num_res_layers(Stack::kDecoder), 4);
}

TEST_P(LanguageModelTest, ClonesSavesLoadsAndResets) {
  for (const bool tied : {true, false}) {
    auto model = make("admin", small_model().tie_embeddings(tied));
    const auto logits = model(ids({1, 2, 3}));
    auto copy = test::clone_of(model);
    EXPECT_TRUE(test::same_state(*copy, *model));
    EXPECT_TRUE(test::shares_nothing(*copy, *model));
    EXPECT_TRUE(same_bits(copy(ids({1, 2, 3})), logits));
    auto loaded = make("admin", small_model().tie_embeddings(tied));
    test::save_and_load(model, loaded);
    EXPECT_TRUE(same_bits(loaded(ids({1, 2, 3})), logits));
    loaded->reset_parameters();
    EXPECT_FALSE(all_close(loaded(ids({1, 2, 3})), logits));
  }
}

TEST_P(LanguageModelTest, IsWatchedInForwardOrderWithItsAttentionWeights) {
  auto model = make("pre");
  model->eval();
  const auto tokens = ids({1, 2, 3, 4});
  const auto logits = model(tokens);
  std::vector<int64_t> indices;
  std::vector<torch::Tensor> weights;
  torch::Tensor watched;
  {
    const Observer watch(
        [&](const SublayerEvent& event) {
          EXPECT_EQ(event.position.stack, Stack::kDecoder);
          EXPECT_EQ(event.position.layer, event.position.index / 2);
          EXPECT_EQ(event.position.kind,
                    event.position.index % 2 == 0 ? SublayerKind::kSelfAttention
                                                  : SublayerKind::kFeedForward);
          indices.push_back(event.position.index);
        },
        [&](const AttentionEvent& event) { weights.push_back(event.weights); });
    watched = model(tokens);
  }
  EXPECT_TRUE(all_close(watched, logits));
  EXPECT_EQ(indices, (std::vector<int64_t>{0, 1, 2, 3}));
  ASSERT_EQ(weights.size(), 2U);
  EXPECT_EQ(weights[0].sizes(), (std::vector<int64_t>{1, 2, 4, 4}));
  EXPECT_TRUE(all_close(weights[0].sum(-1), torch::ones({1, 2, 4}, options())));
  EXPECT_EQ(weights[0].triu(1).abs().max().item<float>(), 0.0F);
}

TEST_P(LanguageModelTest, HasRightGradients) {
  auto model = make("admin",
                    LanguageModelOptions()
                        .num_layers(1)
                        .embed_dim(4)
                        .num_heads(2)
                        .dim_feedforward(6)
                        .vocab_size(5)
                        .dropout(0.0));
  model->to(torch::kFloat64);
  EXPECT_TRUE(test::gradients_are_right(
      [&] {
        return model(ids({1, 2, 3}));
      },
      model->parameters()));
}

EVENKEEL_ON_EVERY_DEVICE(LanguageModelTest);

TEST(LanguageModelErrorTest, ChecksItsOptionsAtConstruction) {
  const auto make = [](const LanguageModelOptions& of) {
    LanguageModel<> model(find_scheme("pre"), of);
  };
  EXPECT_TRUE(throws([&] { make(LanguageModelOptions()); },
                     "LanguageModel: expected vocab_size > 0, but got 0"));
  EXPECT_TRUE(throws([&] { make(small_model().pad_id(kWords)); },
                     "LanguageModel: expected pad_id in [0, 11), or -1 for none, but got 11"));
  EXPECT_TRUE(throws([&] { make(small_model().learned_positions(-1)); },
                     "LanguageModel: expected learned_positions > 0, or 0 for sinusoidal ones, but "
                     "got -1"));
  make(small_model().embed_dim(9).num_heads(3).learned_positions(4));  // any width will do
  EXPECT_TRUE(
      throws([&] { make(small_model().embed_dim(9).num_heads(3)); },
             "LanguageModel: expected an even embed_dim for its sinusoidal positions, but got 9"));
  EXPECT_TRUE(
      throws([&] { make(small_model().dropout(1.0)); }, "expected dropout in [0, 1), but got 1"));
}

TEST(LanguageModelErrorTest, NamesTheOptionForPaddingOnTheLeft) {
  LanguageModel<> model(find_scheme("pre"), small_model().pad_id(0));
  const auto left = torch::tensor({{0, 1, 2}}, torch::kInt64);
  EXPECT_TRUE(
      throws([&] { model(left); },
             "LanguageModel: expected padding on the right, but a row has a token after padding; "
             "set padding(PaddingSide::kEither) for padding on either side"));
}

}  // namespace
}  // namespace evenkeel::nn
