// SPDX-License-Identifier: MIT
#include "translation/decode.hpp"

#include "all_close.hpp"
#include "common/vocabulary.hpp"
#include "translation/model.hpp"
#include "translation/score_pairs.hpp"

#include <evenkeel/fold/fold.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/residual/observer.hpp>

#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

using Ids = std::vector<int64_t>;

constexpr int64_t kVocabulary = 8;  // four special pieces and four more

// In the tolerance of float32, in which models compute.
::testing::AssertionResult close(double actual, double expected) {
  return test::all_close(torch::tensor(static_cast<float>(actual)),
                         torch::tensor(static_cast<float>(expected)));
}

class DecodeTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "cuda" && !torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
    device_ = device_of(GetParam());
    model_ = make(3);
  }

  // With weights times `scale`: the greater, the surer it is of the next piece.
  nn::Transformer<> make(uint64_t seed, double scale = 1.7) const {
    Config config;
    config.scheme = "admin-o1";
    config.encoder_layers = config.decoder_layers = 2;
    config.embed_dim = 16;
    config.num_heads = 2;
    config.dim_feedforward = 32;
    torch::manual_seed(seed);
    auto model = make_model(config, {kVocabulary, kVocabulary, /*joint=*/true});
    // Outputs of a fresh model are nearly uniform; these differ enough for no two to tie.
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.mul_(scale);
    model->to(device_);
    model->eval();
    return model;
  }

  // log P(piece | source, prefix) of every next piece, from a full forward without cache. Pieces
  // that are no part of a translation have no share.
  std::vector<double> next(const Ids& source, const Ids& prefix) {
    const torch::NoGradGuard no_grad;
    auto src = source;
    src.push_back(kEos);
    Ids tgt{kBos};
    tgt.insert(tgt.end(), prefix.begin(), prefix.end());
    const auto row = [&](const Ids& ids) {
      return to_tensor(ids, 1, static_cast<int64_t>(ids.size()), device_);
    };
    const auto hidden = model_->decode(row(tgt), model_->encode(row(src)), nullptr);
    auto logits = model_->project(hidden)[0][static_cast<int64_t>(tgt.size()) - 1].cpu();
    for (const auto piece : {kPad, kUnk, kBos}) {
      logits[piece] = -std::numeric_limits<float>::infinity();
    }
    logits = logits.log_softmax(0);
    std::vector<double> scores;
    for (int64_t i = 0; i < kVocabulary; ++i) scores.push_back(logits[i].item<double>());
    return scores;
  }

  // The best of all translations of up to `longest` pieces, by trying every one of them.
  std::pair<Ids, double> best_of_all(const Ids& source, int64_t longest, double penalty) {
    std::pair<Ids, double> best{{}, -std::numeric_limits<double>::infinity()};
    search(source, {}, 0.0, longest, penalty, best);
    return best;
  }

  nn::Transformer<> model_;
  torch::Device device_{torch::kCPU};

 private:
  void search(const Ids& source,
              const Ids& prefix,
              double score,
              int64_t longest,
              double penalty,
              std::pair<Ids, double>& best) {
    const auto finish = [&](double total, size_t length) {
      const double normalized = total / std::pow(static_cast<double>(length), penalty);
      if (normalized > best.second) best = {prefix, normalized};
    };
    if (static_cast<int64_t>(prefix.size()) == longest) return finish(score, prefix.size());
    const auto scores = next(source, prefix);
    for (int64_t piece = 0; piece < kVocabulary; ++piece) {
      if (piece == kPad || piece == kUnk || piece == kBos) continue;
      const double total = score + scores[static_cast<size_t>(piece)];
      if (piece == kEos) {
        finish(total, prefix.size() + 1);
        continue;
      }
      auto longer = prefix;
      longer.push_back(piece);
      search(source, longer, total, longest, penalty, best);
    }
  }
};

const std::vector<Ids> kSources{{4, 5, 6}, {7}, {5, 5, 4, 6, 7, 4}, {}, {6, 4}};

TEST_P(DecodeTest, GreedySearchTakesTheMostLikelyPieceEachTime) {
  DecodeOptions options;
  options.length_extra = 3;
  const auto translations = translate(*model_, kSources, device_, false, options);
  ASSERT_EQ(translations.size(), kSources.size());
  for (size_t i = 0; i < kSources.size(); ++i) {
    Ids expected;
    const auto longest = static_cast<size_t>(1.5 * static_cast<double>(kSources[i].size())) + 3;
    while (!kSources[i].empty() && expected.size() < longest) {
      const auto scores = next(kSources[i], expected);
      const auto piece = std::max_element(scores.begin(), scores.end()) - scores.begin();
      if (piece == kEos) break;
      expected.push_back(piece);
    }
    EXPECT_EQ(translations[i], expected) << "sentence " << i;
  }
}

TEST_P(DecodeTest, AFoldedModelGivesTheSameTranslations) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model_->named_parameters()) {
    if (parameter.key().find("omega") == std::string::npos) continue;
    auto& omega = parameter.value();
    omega.mul_(torch::rand_like(omega) + 0.5);
  }
  auto plain = fold(model_);
  for (const int64_t beam : {1, 4}) {
    DecodeOptions options;
    options.beam = beam;
    EXPECT_EQ(translate(*plain, kSources, device_, false, options),
              translate(*model_, kSources, device_, false, options))
        << "beam " << beam;
  }
}

TEST_P(DecodeTest, ABeamThatHoldsEverythingFindsTheBestOfAllTranslations) {
  for (const double penalty : {0.0, 1.0}) {
    DecodeOptions options;
    options.beam = 800;  // more than there are continuations: nothing is dropped
    options.length_ratio = 0.0;
    options.length_extra = 4;
    options.length_penalty = penalty;
    const std::vector<Ids> sources{{4, 5, 6}, {7, 7}};
    const auto translations = translate(*model_, sources, device_, false, options);
    for (size_t i = 0; i < sources.size(); ++i) {
      EXPECT_EQ(translations[i], best_of_all(sources[i], 4, penalty).first)
          << "sentence " << i << ", length penalty " << penalty;
    }
  }
}

// Of models that differ in how likely they find the unknown piece, and whether they end in time.
TEST_P(DecodeTest, OnlyPiecesThatATranslationHasCountInItsScore) {
  const torch::NoGradGuard no_grad;
  DecodeOptions options;
  options.beam = 800;
  options.length_ratio = 0.0;
  options.length_extra = 2;
  const std::vector<Ids> sources{{4, 5, 6}, {7}};
  for (int seed = 0; seed < 30; ++seed) {
    torch::manual_seed(seed);
    for (auto& parameter : model_->parameters()) {
      parameter.add_(torch::randn(parameter.sizes()).to(device_), 0.3);
    }
    const auto translations = translate(*model_, sources, device_, false, options);
    for (size_t i = 0; i < sources.size(); ++i) {
      EXPECT_EQ(translations[i], best_of_all(sources[i], 2, 1.0).first)
          << "seed " << seed << ", sentence " << i;
    }
  }
}

TEST_P(DecodeTest, TranslationsDoNotDependOnTheBatch) {
  for (const int64_t beam : {1, 3}) {
    DecodeOptions together;
    together.beam = beam;
    auto alone = together;
    alone.batch_tokens = 1;
    EXPECT_EQ(translate(*model_, kSources, device_, false, together),
              translate(*model_, kSources, device_, false, alone))
        << "beam " << beam;
  }
}

TEST_P(DecodeTest, TheBestTranslationsHaveTheirScores) {
  model_ = make(3, 1.0);
  DecodeOptions options;
  options.beam = options.n_best = 4;
  options.length_extra = 3;
  options.length_penalty = 0.6;
  // Those that ended since they were too long have no eos.
  const auto longest_of = [](const Ids& source) {
    return static_cast<size_t>(1.5 * static_cast<double>(source.size())) + 3;
  };
  const auto found = translate_n_best({model_.get()}, kSources, device_, false, options);
  const auto best = translate(*model_, kSources, device_, false, options);
  std::vector<Pair> pairs;
  for (size_t i = 0; i < kSources.size(); ++i) {
    EXPECT_EQ(found[i].size(), kSources[i].empty() ? 0U : 4U);
    if (!found[i].empty()) {
      EXPECT_EQ(found[i].front().pieces, best[i]);
    }
    for (const auto& each : found[i]) {
      EXPECT_LE(each.score, found[i].front().score);
      const bool cut_off = each.pieces.size() == longest_of(kSources[i]);
      const auto length = static_cast<double>(each.pieces.size()) + (cut_off ? 0.0 : 1.0);
      EXPECT_DOUBLE_EQ(each.score, each.log_probability / std::pow(length, 0.6));
      pairs.push_back({kSources[i], each.pieces});
    }
  }
  const auto scores = score_pairs({model_.get()}, pairs, device_, false, /*batch_tokens=*/20);
  size_t at = 0;
  for (size_t i = 0; i < kSources.size(); ++i) {
    for (const auto& each : found[i]) {
      auto expected = scores[at++];
      if (each.pieces.size() == longest_of(kSources[i]))
        expected -= next(kSources[i], each.pieces)[kEos];
      EXPECT_TRUE(close(each.log_probability, expected)) << i;
    }
  }
}

// GNMT's formula, from a full forward pass without a cache: the last layer's cross-attention, its
// first head. A translation that was cut off has no step for eos.
double coverage_of(nn::TransformerImpl& model,
                   torch::Device device,
                   const Ids& source,
                   const Ids& pieces,
                   bool cut_off) {
  const torch::NoGradGuard no_grad;
  auto src = source;
  src.push_back(kEos);
  Ids tgt{kBos};
  tgt.insert(tgt.end(), pieces.begin(), pieces.end() - (cut_off ? 1 : 0));
  const auto row = [&](const Ids& ids) {
    return to_tensor(ids, 1, static_cast<int64_t>(ids.size()), device);
  };
  torch::Tensor weights;
  const auto* last = model.decoder->layers.back()->sublayer("cross_attn").branch.ptr().get();
  const Observer watch(nullptr, [&](const AttentionEvent& event) {
    if (&event.attention == last) weights = event.weights[0][0].to(torch::kCPU, torch::kFloat64);
  });
  model.decode(row(tgt), model.encode(row(src)), nullptr);
  double penalty = 0.0;
  for (int64_t i = 0; i < weights.size(1); ++i) {
    penalty += std::log(std::min(weights.select(1, i).sum().item<double>(), 1.0));
  }
  return penalty;
}

TEST_P(DecodeTest, ACoveragePenaltyCountsWhatTheTranslationHasNotAttendedTo) {
  model_ = make(3, 1.0);
  {
    // Attends to few pieces: queries and keys of the last cross-attention are larger.
    const torch::NoGradGuard no_grad;
    auto& last = model_->decoder->layers.back()->sublayer("cross_attn");
    last.branch.as<nn::MultiHeadAttention>()->in_proj_weight.narrow(0, 0, 32).mul_(6.0);
  }
  DecodeOptions options;
  options.beam = options.n_best = 4;
  options.length_extra = 3;
  options.length_penalty = 0.6;
  const auto cut_off = [&](const Ids& source, const Ids& pieces) {
    return pieces.size() == static_cast<size_t>(1.5 * static_cast<double>(source.size())) + 3;
  };
  const auto without = translate_n_best({model_.get()}, kSources, device_, false, options);
  options.coverage_penalty = 2.0;
  const auto found = translate_n_best({model_.get()}, kSources, device_, false, options);
  bool other_order = false;
  int left_out = 0;
  for (size_t i = 0; i < kSources.size(); ++i) {
    ASSERT_EQ(found[i].size(), without[i].size());
    for (size_t k = 0; k < found[i].size(); ++k) {
      const auto& each = found[i][k];
      const bool cut = cut_off(kSources[i], each.pieces);
      const auto length = static_cast<int64_t>(each.pieces.size()) + (cut ? 0 : 1);
      const double coverage = coverage_of(*model_, device_, kSources[i], each.pieces, cut);
      left_out += coverage < -0.1 ? 1 : 0;
      EXPECT_TRUE(close(each.score, normalized(each.log_probability, length, 0.6) + 2.0 * coverage))
          << i << " " << k;
      EXPECT_LE(each.score, found[i].front().score);
      other_order = other_order || each.pieces != without[i][k].pieces;
    }
  }
  EXPECT_GT(left_out, 4);
  EXPECT_TRUE(other_order);
}

TEST_P(DecodeTest, TheCoverageOfAnEnsembleIsThatOfItsMeanAttention) {
  DecodeOptions options;
  options.beam = options.n_best = 3;
  options.coverage_penalty = 0.7;
  const auto scores_of = [&](const Models& models) {
    std::vector<float> scores;
    for (const auto& found : translate_n_best(models, kSources, device_, false, options)) {
      for (const auto& each : found) scores.push_back(static_cast<float>(each.score));
    }
    return torch::tensor(scores);
  };
  EXPECT_TRUE(test::all_close(scores_of({model_.get(), model_.get()}), scores_of({model_.get()})));
}

TEST_P(DecodeTest, GivenTranslationsHaveTheirLogProbability) {
  const std::vector<Pair> pairs{{{4, 5, 6}, {7, 4}}, {{7}, {}}, {{5, 5, 4, 6}, {6, 6, 6, 5, 4}}};
  for (const int64_t batch_tokens : {1, 1000}) {
    const auto scores = score_pairs({model_.get()}, pairs, device_, false, batch_tokens);
    for (size_t i = 0; i < pairs.size(); ++i) {
      double expected = 0.0;
      Ids prefix;
      for (const auto piece : pairs[i].target) {
        expected += next(pairs[i].source, prefix)[static_cast<size_t>(piece)];
        prefix.push_back(piece);
      }
      expected += next(pairs[i].source, prefix)[kEos];
      EXPECT_TRUE(close(scores[i], expected)) << i;
    }
  }
}

TEST_P(DecodeTest, SeveralModelsPredictTheMeanOfTheirProbabilities) {
  auto other = make(4);
  const Models both{model_.get(), other.get()};
  const Models twice{model_.get(), model_.get()};
  DecodeOptions options;
  options.beam = options.n_best = 3;
  const auto pieces_of = [&](const Models& models) {
    std::vector<Ids> pieces;
    for (const auto& found : translate_n_best(models, kSources, device_, false, options)) {
      for (const auto& each : found) pieces.push_back(each.pieces);
    }
    return pieces;
  };
  EXPECT_EQ(pieces_of(twice), pieces_of({model_.get()}));
  EXPECT_NE(pieces_of(both), pieces_of({model_.get()}));

  const std::vector<Pair> pair{{{4, 5}, {}}};  // log P(eos)
  const auto of = [&](const Models& models) {
    return std::exp(score_pairs(models, pair, device_, false, 100).front());
  };
  EXPECT_TRUE(close(of(both), (of({model_.get()}) + of({other.get()})) / 2.0));

  // The scores of the search are those of given translations.
  options.length_extra = 20;
  const auto found = translate_n_best(both, {{4, 5, 6}}, device_, false, options).front().front();
  ASSERT_LT(found.pieces.size(), 24U);
  const auto score = score_pairs(both, {{{4, 5, 6}, found.pieces}}, device_, false, 100).front();
  EXPECT_TRUE(close(found.log_probability, score));
}

TEST_P(DecodeTest, DrawsPiecesAsOftenAsTheirProbabilitySays) {
  model_ = make(3, 1.0);
  constexpr size_t kDraws = 4000;
  const std::vector<Ids> sources(kDraws, Ids{4, 5, 6});
  DecodeOptions options;
  options.sampling = true;
  options.length_ratio = 0.0;
  options.length_extra = 1;
  options.batch_tokens = 1'000'000;
  for (const double temperature : {1.0, 0.5}) {
    options.temperature = temperature;
    auto expected = next({4, 5, 6}, {});
    double sum = 0.0;
    for (const int64_t piece : {kPad, kUnk, kBos}) {
      expected[static_cast<size_t>(piece)] = -std::numeric_limits<double>::infinity();
    }
    for (auto& each : expected) sum += each = std::exp(each / temperature);
    ASSERT_LT(*std::max_element(expected.begin(), expected.end()) / sum, 0.9);  // not a sure one
    std::vector<double> counts(kVocabulary);
    torch::manual_seed(1);
    for (const auto& drawn : translate(*model_, sources, device_, false, options)) {
      ++counts[static_cast<size_t>(drawn.empty() ? kEos : drawn.front())];
    }
    for (size_t piece = 0; piece < counts.size(); ++piece) {
      const double p = expected[piece] / sum;
      const double deviation = std::sqrt(p * (1.0 - p) / kDraws);
      EXPECT_LE(std::abs(counts[piece] / kDraws - p), 4.0 * deviation) << piece;
    }
  }
}

TEST_P(DecodeTest, DrawsOfTheLikeliestPieceOrAtNoTemperatureAreGreedySearch) {
  model_ = make(3, 1.0);
  const auto greedy = translate(*model_, kSources, device_, false, {});
  DecodeOptions options;
  options.sampling = true;
  options.top_k = 1;
  EXPECT_EQ(translate(*model_, kSources, device_, false, options), greedy);
  options.top_k = 0;
  EXPECT_NE(translate(*model_, kSources, device_, false, options), greedy);
  options.temperature = 1e-6;
  EXPECT_EQ(translate(*model_, kSources, device_, false, options), greedy);
}

TEST_P(DecodeTest, TheModelComesBackInItsMode) {
  model_->train();
  translate(*model_, kSources, device_, false, {});
  EXPECT_TRUE(model_->is_training());
}

INSTANTIATE_TEST_SUITE_P(Devices, DecodeTest, ::testing::Values("cpu", "cuda"));

}  // namespace
}  // namespace evenkeel::examples::translation
