// SPDX-License-Identifier: MIT
#include <evenkeel/nn/transformer.hpp>

#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/observer.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/tfixup.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <string>
#include <thread>
#include <vector>

namespace evenkeel::nn {
namespace {

using test::all_close;
using test::same_bits;
using test::throws;

constexpr int64_t kVocab = 11;

TransformerOptions small() {
  return TransformerOptions()
      .encoder_layers(2)
      .decoder_layers(1)
      .embed_dim(8)
      .num_heads(2)
      .dim_feedforward(12)
      .vocab_size(kVocab)
      .dropout(0.0);
}

class TransformerTest : public test::DeviceTest {
 protected:
  static torch::Tensor ids(const std::vector<std::vector<int64_t>>& rows) {
    std::vector<torch::Tensor> tensors;
    tensors.reserve(rows.size());
    for (const auto& row : rows) tensors.push_back(torch::tensor(row, torch::kInt64));
    return torch::stack(tensors).to(device());
  }
  static torch::Tensor src() { return ids({{1, 2, 3, 4}, {5, 6, 7, 8}}); }
  static torch::Tensor tgt() { return ids({{1, 9, 10}, {1, 4, 5}}); }

  template <typename Scheme>
  static Transformer<Scheme> make(const TransformerOptions& transformer_options = small()) {
    Transformer<Scheme> model(transformer_options);
    model->to(device());
    return model;
  }
};

TEST_P(TransformerTest, GivesLogitsOfEveryToken) {
  auto model = make<Admin>();
  EXPECT_EQ(model(src(), tgt()).sizes(), (std::vector<int64_t>{2, 3, kVocab}));
}

TEST_P(TransformerTest, IsEmbeddingsThenStacksThenTheEmbeddingAgain) {
  auto model = make<Admin>();
  const auto& weight = model->src_embedding->weight;
  const auto embed = [&](const torch::Tensor& tokens) {
    return weight.index_select(0, tokens.flatten()).view({2, -1, 8}) * std::sqrt(8.0) +
           sinusoidal_positions(tokens.size(1), 8).to(device());
  };
  const auto hidden = model->decoder->forward(embed(tgt()), model->encoder(embed(src())));

  EXPECT_TRUE(all_close(model(src(), tgt()), hidden.matmul(weight.t())));
}

TEST_P(TransformerTest, SetsWholeEmbeddingsToZeroInTrainingModeAlone) {
  constexpr double kShare = 0.4;
  for (const bool of_source : {true, false}) {
    auto model = make<PostNorm>(of_source ? small().src_word_dropout(kShare)
                                          : small().tgt_word_dropout(kShare));
    const auto tokens = torch::randint(1, kVocab, {3, 40}, torch::kInt64).to(device());
    const auto run = [&] {
      torch::Tensor seen;
      const Observer watch([&](const SublayerEvent& event) {
        const bool encoder = event.position.stack == Stack::kEncoder;
        if (encoder == of_source && event.position.index == 0) seen = event.input.detach().clone();
      });
      of_source ? model(tokens, tgt()[0].expand({3, 3})) : model(src()[0].expand({3, 4}), tokens);
      return seen - sinusoidal_positions(40, 8).to(device());
    };
    const auto words = run();
    const auto kept = words.abs().sum(-1, /*keepdim=*/true).ne(0);
    const auto embedded =
        torch::embedding(model->src_embedding->weight.detach(), tokens) * std::sqrt(8.0);
    EXPECT_TRUE(all_close(words, embedded / (1.0 - kShare) * kept));
    const auto share = kept.to(torch::kFloat64).mean().item<double>();
    EXPECT_GT(share, 0.45);  // of 120 tokens, 3.4 standard deviations
    EXPECT_LT(share, 0.75);
    EXPECT_FALSE(torch::equal(kept[0], kept[1]));  // every token for itself
    model->eval();
    EXPECT_TRUE(all_close(run(), embedded));
  }
}

TEST_P(TransformerTest, GivesEachStackItsLayerdrop) {
  auto model = make<Admin>(small().encoder_layerdrop(0.25).decoder_layerdrop(0.5));
  EXPECT_EQ(model->encoder->options.layerdrop(), 0.25);
  EXPECT_EQ(model->decoder->options.layerdrop(), 0.5);
}

TEST_P(TransformerTest, AddsABiasToItsLogitsWhereItHasOne) {
  auto model = make<Admin>(small().logits_bias(true));
  const auto without = model(src(), tgt());
  const auto bias = randn({kVocab});
  model->logits_bias.copy_(bias);
  EXPECT_TRUE(all_close(model(src(), tgt()), without + bias));
  const auto copy = std::dynamic_pointer_cast<TransformerImpl>(model->clone());
  EXPECT_TRUE(same_bits(copy->logits_bias, bias));
  EXPECT_FALSE(make<Admin>()->logits_bias.defined());
}

TEST_P(TransformerTest, DoesNotLetPaddingChangeRealTokens) {
  auto model = make<Admin>();
  const auto logits = model(src(), tgt());
  const auto padded_src = ids({{1, 2, 3, 4, 0, 0}, {5, 6, 7, 8, 0, 0}});
  const auto padded_tgt = ids({{1, 9, 10, 0, 0}, {1, 4, 5, 0, 0}});

  EXPECT_TRUE(all_close(model(padded_src, tgt()), logits));
  EXPECT_TRUE(all_close(model(src(), padded_tgt).narrow(1, 0, 3), logits));
}

TEST_P(TransformerTest, TakesPaddingOnEitherSideWhereToldTo) {
  auto model = make<Admin>(small().padding(PaddingSide::kEither));
  const auto alone = model(ids({{5, 6, 7}}), ids({{2, 8, 9}}));
  const auto padded_tgt = ids({{0, 0, 2, 8, 9}});
  EXPECT_TRUE(all_close(model(ids({{0, 0, 5, 6, 7}}), ids({{2, 8, 9}})), alone));
  EXPECT_TRUE(all_close(model(ids({{5, 6, 7}}), padded_tgt).narrow(1, 2, 3), alone));
  EXPECT_TRUE(all_close(model(ids({{5, 6, 7, 0}}), ids({{2, 8, 9, 0}})).narrow(1, 0, 3), alone));
  const auto memory = model->encode(ids({{5, 6, 7}}));
  DecoderCache cache;
  model->decode(padded_tgt.narrow(1, 0, 3), memory, &cache);
  EXPECT_TRUE(all_close(model->project(model->decode(padded_tgt.narrow(1, 3, 2), memory, &cache)),
                        alone.narrow(1, 1, 2)));
}

TEST_P(TransformerTest, MayRunInSeveralThreadsAtOnce) {
  for (int64_t round = 0; round < 20; ++round) {
    auto model = make<Admin>();
    model->eval();
    std::vector<torch::Tensor> sources;
    for (const int64_t length : {3, 300, 600, 2, 1100, 5}) {
      sources.push_back(torch::randint(1, kVocab, {1, length}, torch::kInt64).to(device()));
    }
    std::vector<torch::Tensor> together(sources.size());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < sources.size(); ++i) {
      threads.emplace_back([&, i] {
        const torch::NoGradGuard no_grad;
        together[i] = model->encode(sources[i]).hidden;
      });
    }
    for (auto& thread : threads) thread.join();
    for (size_t i = 0; i < sources.size(); ++i) {
      EXPECT_TRUE(all_close(together[i], model->encode(sources[i]).hidden.detach()));
    }
  }
}

TEST_P(TransformerTest, MayBeMadeOfASchemeThatIsAValue) {
  torch::manual_seed(1);
  Transformer<> by_value(scheme_of<Admin>(), small());
  torch::manual_seed(1);
  Transformer<Admin> by_type(small());
  EXPECT_TRUE(test::same_state(*by_value, *by_type));
  EXPECT_EQ(by_value->scheme().title, "Admin O(logn)");
}

TEST_P(TransformerTest, TakesTheTokenForPaddingThatItWasTold) {
  auto model = make<Admin>(small().pad_id(7));
  const auto padded = ids({{1, 2, 7}, {3, 4, 7}});
  EXPECT_TRUE(all_close(model(padded, tgt()), model(ids({{1, 2}, {3, 4}}), tgt())));
  EXPECT_TRUE(same_bits(model->src_embedding->weight.detach()[7], torch::zeros({8}, options())));
}

TEST_P(TransformerTest, SeesNoLaterToken) {
  auto model = make<PreNorm>();
  const auto logits = model(src(), tgt());
  const auto other = model(src(), ids({{1, 9, 2}, {1, 4, 3}}));

  EXPECT_TRUE(all_close(other.narrow(1, 0, 2), logits.narrow(1, 0, 2)));
  EXPECT_FALSE(all_close(other, logits));
}

TEST_P(TransformerTest, DecodesStepByStepAsInOneGo) {
  auto model = make<Admin>();
  const auto padded = ids({{1, 2, 3, 0}, {5, 6, 7, 8}});
  const auto memory = model->encode(padded);
  DecoderCache cache;
  std::vector<torch::Tensor> steps;
  for (int64_t t = 0; t < 3; ++t) {
    steps.push_back(model->project(model->decode(tgt().narrow(1, t, 1), memory, &cache)));
  }
  EXPECT_TRUE(all_close(torch::cat(steps, 1), model(padded, tgt())));
}

TEST_P(TransformerTest, DecodesSelectedRowsOfAMemory) {
  auto model = make<Admin>();
  const auto padded = ids({{1, 2, 3, 0}, {5, 6, 7, 8}});
  const auto index = torch::tensor({1, 0}).to(device());
  const auto memory = model->encode(padded).select(index);

  EXPECT_TRUE(all_close(model->project(model->decode(tgt(), memory)),
                        model(padded.index_select(0, index), tgt())));
}

TEST_P(TransformerTest, HasPositionsBeyondThoseItBeganWith) {
  auto model = make<Admin>();
  model->eval();
  const auto long_src = torch::randint(1, kVocab, {1, 300}, torch::kInt64).to(device());
  const auto after_short = [&] {
    model(src(), tgt());
    return model(long_src, ids({{1}}));
  }();
  auto fresh = test::clone_of(model);

  EXPECT_TRUE(all_close(fresh(long_src, ids({{1}})), after_short));
}

TEST_P(TransformerTest, HasRightGradients) {
  Transformer<Admin> model(TransformerOptions()
                               .encoder_layers(1)
                               .decoder_layers(1)
                               .embed_dim(4)
                               .num_heads(2)
                               .dim_feedforward(6)
                               .vocab_size(kVocab)
                               .dropout(0.0));
  model->to(device(), torch::kFloat64);
  test::randomise(*model);
  const auto padded = ids({{1, 2, 3, 0}, {5, 6, 7, 8}});

  EXPECT_TRUE(test::gradients_are_right([&] { return model(padded, tgt()); }, model->parameters()));
}

template <typename Scheme>
void expect_clones_saves_and_loads(const torch::Tensor& src, const torch::Tensor& tgt, bool tied) {
  SCOPED_TRACE(torch::str(scheme_of<Scheme>().title, tied ? " tied" : ""));
  Transformer<Scheme> model(small().tie_embeddings(tied));
  model->to(src.device());
  test::randomise(*model);
  const auto logits = model(src, tgt);
  auto copy = test::clone_of(model);
  EXPECT_TRUE(test::same_state(*copy, *model));
  EXPECT_TRUE(test::shares_nothing(*copy, *model));
  EXPECT_TRUE(same_bits(copy(src, tgt), logits));
  test::randomise(*copy);
  EXPECT_TRUE(same_bits(model(src, tgt), logits));

  Transformer<Scheme> loaded(small().tie_embeddings(tied));
  loaded->to(src.device());
  test::save_and_load(model, loaded);
  EXPECT_TRUE(test::same_state(*loaded, *model));
  EXPECT_TRUE(same_bits(loaded(src, tgt), logits));
}

TEST_P(TransformerTest, ClonesSavesAndLoads) {
  expect_clones_saves_and_loads<Admin>(src(), tgt(), /*tied=*/true);
  expect_clones_saves_and_loads<Admin>(src(), tgt(), /*tied=*/false);
  expect_clones_saves_and_loads<PreNorm>(src(), tgt(), /*tied=*/true);
  expect_clones_saves_and_loads<TFixup>(src(), tgt(), /*tied=*/false);
  expect_clones_saves_and_loads<PostNorm>(src(), tgt(), /*tied=*/true);
}

TEST_P(TransformerTest, RunsInHalfPrecision) {
  auto model = make<Admin>();
  model(src(), tgt());  // its positions are float32 now
  model->to(torch::kBFloat16);
  const auto logits = model(src(), tgt());

  EXPECT_EQ(logits.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(logits.isfinite().all().item<bool>());
}

TEST_P(TransformerTest, DropsWhileTrainingOnly) {
  auto model = make<Admin>(small().dropout(0.5));
  EXPECT_FALSE(all_close(model(src(), tgt()), model(src(), tgt())));
  model->eval();
  EXPECT_TRUE(same_bits(model(src(), tgt()), model(src(), tgt())));
}

EVENKEEL_ON_EVERY_DEVICE(TransformerTest);

class TransformerPartsTest : public test::SeededTest {};

TEST_F(TransformerPartsTest, CountsATiedMatrixOnce) {
  const auto count = [](bool tied) {
    int64_t numbers = 0;
    Transformer<TFixup> model(small().tie_embeddings(tied));
    for (const auto& parameter : model->parameters()) numbers += parameter.numel();
    return numbers;
  };
  EXPECT_EQ(count(false) - count(true), 2 * kVocab * 8);
  // Attention 4 d^2 + 4 d, feed-forward 2 d f + f + d.
  const int64_t attention = 4 * 64 + 4 * 8;
  const int64_t feed_forward = 2 * 8 * 12 + 12 + 8;
  EXPECT_EQ(count(true),
            kVocab * 8 + 2 * (attention + feed_forward) + 2 * attention + feed_forward);
}

TEST_F(TransformerPartsTest, SharesOneEmbeddingWhenTied) {
  Transformer<Admin> tied(small());
  EXPECT_EQ(tied->src_embedding.get(), tied->tgt_embedding.get());
  EXPECT_TRUE(tied->head.is_empty());
  Transformer<Admin> untied(small().tie_embeddings(false));
  EXPECT_NE(untied->src_embedding.get(), untied->tgt_embedding.get());
  EXPECT_FALSE(untied->head.is_empty());
}

TEST_F(TransformerPartsTest, BeginsItsGainsByEachStacksDepth) {
  Transformer<AdminO1> model(small().encoder_layers(8).decoder_layers(3));
  EXPECT_TRUE(all_close(model->encoder->layers[0]->sublayer("self_attn").residual->omega.detach(),
                        torch::full({8}, 4.0)));
  EXPECT_TRUE(all_close(model->decoder->layers[0]->sublayer("self_attn").residual->omega.detach(),
                        torch::full({8}, 3.0)));
}

TEST_F(TransformerPartsTest, DrawsEmbeddingsOfUnitLengthTimesTheSchemesFactor) {
  constexpr int64_t kWidth = 64;
  constexpr int64_t kManyTokens = 1000;
  const auto options = small().embed_dim(kWidth).vocab_size(kManyTokens);
  const auto expect_length = [&](const torch::Tensor& weight, int64_t rows, double factor) {
    const double variance = factor * factor / kWidth;
    const auto n = static_cast<double>(rows * kWidth);
    EXPECT_TRUE(test::within_sampling_error(weight.square().sum().item<double>() / n,
                                            variance,
                                            variance * std::sqrt(2.0 / n)));
  };
  const auto factor = [](double layers) { return std::pow(9.0 * layers, -0.25); };

  expect_length(Transformer<Admin>(options)->src_embedding->weight, kManyTokens - 1, 1.0);
  expect_length(Transformer<TFixup>(options)->src_embedding->weight, kManyTokens - 1, factor(2.0));
  Transformer<TFixup> untied(TransformerOptions(options).tie_embeddings(false));
  expect_length(untied->src_embedding->weight, kManyTokens - 1, factor(2.0));
  expect_length(untied->tgt_embedding->weight, kManyTokens - 1, factor(1.0));
  expect_length(untied->head->weight, kManyTokens, 1.0);
}

TEST_F(TransformerPartsTest, KeepsItsPositionsOutOfCheckpoints) {
  Transformer<Admin> model(small());
  for (const auto& name : test::state_names(*model)) {
    EXPECT_EQ(name.find("position"), std::string::npos) << name;
  }
}

TEST_F(TransformerPartsTest, BeginsAfreshWithOtherWeightsOfTheSameKind) {
  Transformer<Admin> model(small());
  const auto before = test::copy_of_state(*model);
  torch::manual_seed(5);
  model->reset_parameters();
  EXPECT_FALSE(all_close(model->src_embedding->weight.detach(), before[0]));
  EXPECT_TRUE(same_bits(model->src_embedding->weight.detach()[0], torch::zeros({8})));
}

TEST(TransformerErrorTest, NeedsAVocabulary) {
  EXPECT_TRUE(throws([] { Transformer<Admin> model(TransformerOptions{}); },
                     "Transformer: expected vocab_size > 0, but got 0"));
}

TEST_F(TransformerPartsTest, TakesAVocabularyOfItsOwnForTheSource) {
  Transformer<Admin> model(small().tie_embeddings(false).src_vocab_size(17));
  EXPECT_EQ(model->src_embedding->weight.size(0), 17);
  EXPECT_EQ(model->tgt_embedding->weight.size(0), kVocab);
  const auto logits = model->forward(torch::full({2, 3}, 16, torch::kInt64),
                                     torch::full({2, 4}, kVocab - 1, torch::kInt64));
  EXPECT_EQ(logits.sizes(), (std::vector<int64_t>{2, 4, kVocab}));
}

TEST(TransformerErrorTest, NeedsOneVocabularyForTiedEmbeddings) {
  EXPECT_TRUE(throws([] { Transformer<Admin> model(small().src_vocab_size(17)); },
                     "Transformer: tied embeddings need one vocabulary, but got src_vocab_size 17 "
                     "and vocab_size 11; call tie_embeddings(false)"));
  EXPECT_TRUE(
      throws([] { Transformer<Admin> model(small().tie_embeddings(false).src_vocab_size(-1)); },
             "Transformer: expected src_vocab_size above pad_id 0, but got -1"));
}

TEST(TransformerErrorTest, NeedsPaddingThatIsInTheVocabulary) {
  EXPECT_TRUE(throws([] { Transformer<Admin> model(small().pad_id(kVocab)); },
                     "Transformer: expected pad_id in [0, 11), but got 11"));
  EXPECT_TRUE(throws([] { Transformer<Admin> model(small().pad_id(-1)); },
                     "Transformer: expected pad_id in [0, 11), but got -1"));
}

TEST(TransformerErrorTest, ChecksItsOptionsAtConstruction) {
  EXPECT_TRUE(throws([] { Transformer<Admin> model(small().embed_dim(9).num_heads(3)); },
                     "Transformer: expected an even embed_dim for its sinusoidal positions, but "
                     "got 9"));
  EXPECT_TRUE(throws([] { Transformer<Admin> model(small().encoder_layers(0)); },
                     "Encoder: expected num_layers > 0, but got 0"));
  EXPECT_TRUE(throws([] { Transformer<Admin> model(small().src_word_dropout(1.0)); },
                     "Transformer: expected src_word_dropout in [0, 1), but got 1"));
  EXPECT_TRUE(throws([] { Transformer<Admin> model(small().tgt_word_dropout(-0.1)); },
                     "Transformer: expected tgt_word_dropout in [0, 1), but got -0.1"));
}

TEST(TransformerErrorTest, NamesTheOptionForPaddingOnTheLeft) {
  Transformer<Admin> model(small());
  const auto ids = torch::tensor({{0, 2, 3}}, torch::kInt64);
  EXPECT_TRUE(throws([&] { model(ids.flip(1), ids); }, "padding(PaddingSide::kEither)"));
  EXPECT_TRUE(throws([&] { model(ids, ids.flip(1)); }, "padding(PaddingSide::kEither)"));
}

TEST(TransformerErrorTest, StartsATargetWithPaddingOnlyWhereToldTo) {
  Transformer<Admin> model(small().starts_with_pad(true));
  const auto ids = torch::tensor({{0, 2, 3}}, torch::kInt64);
  model(ids.flip(1), ids);
  EXPECT_TRUE(throws([&] { model(ids, ids); }, "padding(PaddingSide::kEither)"));
  const auto two = torch::tensor({{0, 0, 3}}, torch::kInt64);
  EXPECT_TRUE(throws([&] { model(ids.flip(1), two); }, "padding(PaddingSide::kEither)"));
}

TEST(TransformerErrorTest, NamesTheTokensItNeeds) {
  Transformer<Admin> model(small());
  const auto ids = torch::ones({1, 3}, torch::kInt64);
  EXPECT_TRUE(throws([&] { model(ids.to(torch::kInt32), ids); },
                     "Transformer: expected token ids as int64 of shape [batch, length], but got "
                     "Int of shape [1, 3]"));
  EXPECT_TRUE(throws([&] { model(ids, ids[0]); }, "but got Long of shape [3]"));
}

}  // namespace
}  // namespace evenkeel::nn
