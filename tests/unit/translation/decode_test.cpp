// SPDX-License-Identifier: MIT
#include "translation/decode.hpp"

#include "common/vocabulary.hpp"
#include "translation/model.hpp"

#include <evenkeel/fold/fold.hpp>

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

class DecodeTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "cuda" && !torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
    Config config;
    config.scheme = "admin-o1";
    config.encoder_layers = config.decoder_layers = 2;
    config.embed_dim = 16;
    config.num_heads = 2;
    config.dim_feedforward = 32;
    config.device = GetParam();
    torch::manual_seed(3);
    model_ = make_model(config, {kVocabulary, kVocabulary, /*joint=*/true});
    // Outputs of a fresh model are nearly uniform; these differ enough for no two to tie.
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model_->parameters()) parameter.mul_(1.7);
    device_ = device_of(config.device);
    model_->to(device_);
    model_->eval();
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

TEST_P(DecodeTest, TheModelComesBackInItsMode) {
  model_->train();
  translate(*model_, kSources, device_, false, {});
  EXPECT_TRUE(model_->is_training());
}

INSTANTIATE_TEST_SUITE_P(Devices, DecodeTest, ::testing::Values("cpu", "cuda"));

}  // namespace
}  // namespace evenkeel::examples::translation
