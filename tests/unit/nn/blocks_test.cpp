// SPDX-License-Identifier: MIT
#include <evenkeel/nn/blocks.hpp>

#include "all_close.hpp"
#include "anatomy_table.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "modules.hpp"

#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/language_model.hpp>
#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/registry.hpp>
#include <evenkeel/train/decay_groups.hpp>
#include <evenkeel/train/fused_adam_options.hpp>

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::nn {
namespace {

StackOptions block_stack(const std::string& block, NormKind norm, int64_t num_layers = 3) {
  return StackOptions(num_layers, 8, 2, 16)
      .cross_attention(false)
      .bias(false)
      .norm(norm)
      .block(block);
}

int64_t number_of_parameters(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const auto& parameter : module.parameters()) count += parameter.numel();
  return count;
}

class BlocksTest : public test::DeviceTest {
 protected:
  static Decoder<> make(const std::string& block,
                        NormKind norm = NormKind::kRmsNorm,
                        torch::Dtype dtype = torch::kFloat64) {
    Decoder<> decoder(find_scheme("pre"), block_stack(block, norm));
    test::randomise(*decoder);
    decoder->to(device(), dtype);
    return decoder;
  }
  static double value(const torch::Tensor& gain) {
    return gain.defined() ? gain.item<double>() : 1.0;
  }

 private:
  // Thousands of products of a few numbers: threads would wait for each other most of the time.
  const test::ThreadsGuard one_thread_{1};
};

// The authors' forward pass, written with the branches of the stack itself.
TEST_P(BlocksTest, IsTheAuthorsFormula) {
  const auto mask = AttentionMask::causal();
  for (const auto& block : blocks()) {
    for (const auto norm : {NormKind::kRmsNorm, NormKind::kNone}) {
      SCOPED_TRACE(block.name + " " + to_string(norm));
      auto decoder = make(block.name, norm);
      auto x = randn({2, 5, 8}, torch::kFloat64);
      const auto y = decoder(x);
      bool first = true;
      for (auto& layer : decoder->layers) {
        ASSERT_EQ(layer->sublayers.size(), block.parallel ? 1U : 2U);
        for (auto& sublayer : layer->sublayers) {
          const auto& residual = *sublayer.residual;
          const bool bare = norm == NormKind::kNone && !(first && block.name != "default");
          EXPECT_EQ(residual.input_norm.is_empty(), bare);
          const auto h = bare ? x : residual.input_norm(x);
          const auto f = sublayer.branch.forward(h, {mask, {}, {}});
          const double shortcut = residual.has_shortcut() ? value(residual.omega) : 0.0;
          x = shortcut * x + value(residual.gain_of_branch()) * f;
          first = false;
        }
      }
      EXPECT_EQ(decoder->end->norm.is_empty(), norm == NormKind::kNone && block.name == "default");
      if (!decoder->end->norm.is_empty()) x = decoder->end->norm(x);
      EXPECT_TRUE(test::all_close(y, x));
    }
  }
}

TEST_P(BlocksTest, InParallelAddsBothBranchesOfOneInput) {
  for (const char* name : {"parallel", "sas-p"}) {
    auto decoder = make(name);
    auto parallel = decoder->layers[1]->sublayer("parallel").branch.as<Parallel>();
    const auto h = randn({2, 5, 8}, torch::kFloat64);
    const auto mask = AttentionMask::causal();
    const auto attention = parallel->attention.forward(h, {mask, {}, {}});
    const auto feed_forward = parallel->feed_forward.forward(h, {});
    EXPECT_TRUE(test::all_close(parallel(h, mask),
                                value(parallel->attention_gain) * attention +
                                    value(parallel->feed_forward_gain) * feed_forward));
  }
}

TEST_P(BlocksTest, HasRightGradients) {
  for (const auto& block : blocks()) {
    SCOPED_TRACE(block.name);
    Decoder<> decoder(find_scheme("pre"), block_stack(block.name, NormKind::kRmsNorm, 2));
    decoder->to(device(), torch::kFloat64);
    {
      const torch::NoGradGuard no_grad;
      for (auto& parameter : decoder->parameters()) {
        parameter.add_(0.3 * torch::randn_like(parameter));
      }
    }
    std::vector<torch::Tensor> inputs;
    for (const auto& parameter : decoder->parameters()) {
      if (parameter.dim() == 1) inputs.push_back(parameter);
    }
    const auto x = randn({1, 3, 8}, torch::kFloat64).requires_grad_();
    inputs.push_back(x);
    EXPECT_TRUE(test::gradients_are_right([&] { return decoder(x); }, inputs));
    for (const auto& parameter : decoder->parameters()) EXPECT_TRUE(parameter.requires_grad());
  }
}

TEST_P(BlocksTest, StepsWithACacheAsInOneGo) {
  for (const auto& block : blocks()) {
    SCOPED_TRACE(block.name);
    auto decoder = make(block.name);
    const auto x = randn({2, 5, 8}, torch::kFloat64);
    DecoderCache cache;
    std::vector<torch::Tensor> pieces;
    for (const auto& piece : x.split_with_sizes({2, 1, 2}, 1)) {
      pieces.push_back(decoder->forward(piece, {}, {}, &cache));
    }
    EXPECT_TRUE(test::all_close(torch::cat(pieces, 1), decoder(x)));
  }
}

TEST_P(BlocksTest, GeneratesWithACacheAsWithout) {
  for (const auto& block : blocks()) {
    SCOPED_TRACE(block.name);
    LanguageModel<> model(find_scheme("pre"),
                          LanguageModelOptions()
                              .num_layers(3)
                              .embed_dim(8)
                              .num_heads(2)
                              .dim_feedforward(16)
                              .vocab_size(20)
                              .pad_id(0)
                              .padding(PaddingSide::kEither)
                              .block(block.name));
    test::randomise(*model);
    model->to(device(), torch::kFloat64);
    model->eval();
    auto tokens = torch::tensor({{3, 4, 5}, {0, 6, 7}}).to(device());  // the second is shorter
    DecoderCache cache;
    auto next = tokens;
    for (int step = 0; step < 5; ++step) {
      const auto cached = model->project(model->decode(next, &cache)).select(1, next.size(1) - 1);
      const auto whole = model->forward(tokens).select(1, tokens.size(1) - 1);
      EXPECT_TRUE(test::all_close(cached, whole));
      next = whole.slice(1, 1).argmax(-1, /*keepdim=*/true) + 1;  // not the padding token
      tokens = torch::cat({tokens, next}, 1);
    }
    if (block.parallel) continue;
    Transformer<> translator(find_scheme("pre"),
                             TransformerOptions()
                                 .encoder_layers(2)
                                 .decoder_layers(3)
                                 .embed_dim(8)
                                 .num_heads(2)
                                 .dim_feedforward(16)
                                 .vocab_size(20)
                                 .block(block.name));
    test::randomise(*translator);
    translator->to(device(), torch::kFloat64);
    translator->eval();
    const auto pad = translator->options.pad_id();
    auto src = torch::randint(4, 20, {2, 4}, options(torch::kInt64));
    src[1][3] = pad;
    const auto memory = translator->encode(src);
    auto tgt = torch::randint(4, 20, {2, 2}, options(torch::kInt64));
    DecoderCache of_target;
    next = tgt;
    for (int step = 0; step < 5; ++step) {
      const auto cached = translator->decode(next, memory, &of_target);
      const auto whole = translator->decode(tgt, memory);
      const auto last = whole.select(1, tgt.size(1) - 1);
      EXPECT_TRUE(test::all_close(cached.select(1, next.size(1) - 1), last));
      next = translator->project(last).slice(1, 4).argmax(-1, /*keepdim=*/true) + 4;
      tgt = torch::cat({tgt, next}, 1);
    }
  }
}

TEST_P(BlocksTest, ClonesSavesAndLoads) {
  for (const auto& block : blocks()) {
    SCOPED_TRACE(block.name);
    auto decoder = make(block.name);
    auto copy = test::clone_of(decoder);
    auto loaded = make(block.name);
    test::save_and_load(decoder, loaded);
    const auto x = randn({2, 5, 8}, torch::kFloat64);
    EXPECT_TRUE(test::same_state(*copy, *decoder));
    EXPECT_TRUE(test::shares_nothing(*copy, *decoder));
    EXPECT_TRUE(test::same_bits(copy(x), decoder(x)));
    EXPECT_TRUE(test::same_bits(loaded(x), decoder(x)));
  }
}

TEST_P(BlocksTest, IsAnEncoderAndAnEncoderDecoderToo) {
  const auto tokens = torch::randint(1, 20, {2, 5}, options(torch::kInt64));
  for (const auto& block : blocks()) {
    SCOPED_TRACE(block.name);
    auto encoder =
        on_device(Encoder<>(find_scheme("pre"), block_stack(block.name, NormKind::kRmsNorm)));
    const auto y = encoder(randn({2, 5, 8}));
    EXPECT_TRUE(y.isfinite().all().item<bool>());
    if (block.parallel) continue;
    auto model = on_device(Transformer<>(find_scheme("pre"),
                                         TransformerOptions()
                                             .encoder_layers(2)
                                             .decoder_layers(2)
                                             .embed_dim(8)
                                             .num_heads(2)
                                             .dim_feedforward(16)
                                             .vocab_size(20)
                                             .block(block.name)));
    model->eval();
    model->forward(tokens, tokens).square().sum().backward();
    for (const auto& parameter : model->named_parameters()) {
      ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
      EXPECT_TRUE(parameter.value().grad().isfinite().all().item<bool>()) << parameter.key();
    }
  }
}

EVENKEEL_ON_EVERY_DEVICE(BlocksTest);

class BlockFormTest : public test::SeededTest {
  // Thousands of products of a few numbers: threads would wait for each other most of the time.
  const test::ThreadsGuard one_thread_{1};
};

// The counts of bobby-he/simplified_transformers at 18 layers: GPT-2 with the 50,000 tokens of its
// vocabulary, 1024 learned positions and a tied head. It prints 166.7 and 146.1 M.
TEST_F(BlockFormTest, HasThePapersNumberOfParameters) {
  constexpr int64_t kPaperDim = 768;
  constexpr int64_t kPaperHeads = 12;
  constexpr int64_t kPaperLayers = 18;
  constexpr int64_t kSquare = kPaperDim * kPaperDim;
  constexpr int64_t kFew = 50;  // tokens of the models here
  const auto count = [&](const char* block, int64_t layers) {
    return number_of_parameters(*LanguageModel<>(find_scheme("pre"),
                                                 LanguageModelOptions()
                                                     .num_layers(layers)
                                                     .embed_dim(kPaperDim)
                                                     .num_heads(kPaperHeads)
                                                     .dim_feedforward(4 * kPaperDim)
                                                     .vocab_size(kFew)
                                                     .bias(false)
                                                     .norm(NormKind::kRmsNorm)
                                                     .learned_positions(1024)
                                                     .block(block)));
  };
  constexpr int64_t kEnds = (50000 + 1024) * kPaperDim + kPaperDim;  // embeddings, last norm
  constexpr int64_t kGains = 3 * kPaperHeads;                        // alpha, beta, gamma
  struct Count {
    const char* block;
    int64_t layer;  // every layer
    int64_t first;  // what the first has beside it
  };
  const auto whole = [&](const Count& c) { return kEnds + kPaperLayers * c.layer + c.first; };
  const Count pre{"default", 12 * kSquare + 2 * kPaperDim, 0};
  const Count sas{"sas", 10 * kSquare + 2 * kPaperDim + kGains + 3, kSquare + 2};
  for (const auto& c :
       {pre,
        Count{"parallel", 12 * kSquare + kPaperDim, 0},
        sas,
        Count{"sas-p", 10 * kSquare + kPaperDim + kGains + 2, kSquare + 2},
        Count{"value-skipinit", 10 * kSquare + 2 * kPaperDim + 2 * kPaperHeads + 3, kSquare + 2},
        Count{"op", 12 * kSquare + 2 * kPaperDim + 2 * kPaperDim / kPaperHeads, 0}}) {
    SCOPED_TRACE(c.block);
    const auto one = count(c.block, 1);
    const auto layer = count(c.block, 2) - one;
    EXPECT_EQ(one + (kPaperLayers - 1) * layer + (50000 - kFew) * kPaperDim, whole(c));
  }
  EXPECT_EQ(whole(pre), 166616832);
  EXPECT_EQ(whole(sas), 145973696);

  // What theirs has beside: the last norm's bias; in each layer the biases of query,
  // key, value, output and feed-forward, of which only the first two are trained, and gains,
  // whether or not they are trained or used.
  constexpr int64_t kTheirEnds = kPaperDim;
  constexpr int64_t kOfFeedForward = 4 * kPaperDim + kPaperDim;
  constexpr int64_t kTheirPre = 2 * kPaperDim + 2 * kPaperDim + kOfFeedForward + kGains + 4;
  constexpr int64_t kTheirSas = 2 * kPaperDim + kOfFeedForward + 1;
  const auto theirs_pre = whole(pre) + kTheirEnds + kPaperLayers * kTheirPre;
  const auto theirs_sas = whole(sas) + kTheirEnds + kPaperLayers * kTheirSas + kPaperDim;
  EXPECT_EQ(theirs_pre, 166742736);
  EXPECT_EQ(theirs_sas, 146072018);

  const auto millions = [](int64_t n) { return std::lround(static_cast<double>(n) / 1e6); };
  EXPECT_EQ(millions(theirs_pre), 167);
  EXPECT_EQ(millions(theirs_sas), 146);
  EXPECT_EQ(millions(whole(pre)), 167);  // without biases
  EXPECT_EQ(millions(whole(sas)), 146);
}

TEST_F(BlockFormTest, BeginsWithTheGainsOfTheAuthorsSettings) {
  const auto gain_of = [](const char* block, int64_t layers) {
    auto decoder = Decoder<>(find_scheme("pre"), block_stack(block, NormKind::kRmsNorm, layers));
    return decoder->layers[0]->sublayer("feed_forward").residual->branch_gain;
  };
  EXPECT_FLOAT_EQ(gain_of("sas", 18).item<float>(), 0.1F);
  EXPECT_FLOAT_EQ(gain_of("sas", 72).item<float>(), 0.05F);
  EXPECT_TRUE(gain_of("sas", 18).requires_grad());
  EXPECT_FLOAT_EQ(gain_of("op", 12).item<float>(), 0.2F);
  EXPECT_FALSE(gain_of("op", 12).requires_grad());

  Decoder<> decoder(find_scheme("pre"), block_stack("sas", NormKind::kRmsNorm));
  auto& attention = decoder->layers[1]->sublayer("self_attn");
  EXPECT_FALSE(attention.residual->has_shortcut());
  const auto x = torch::randn({2, 5, 8});
  const auto y = attention.branch.forward(x, {AttentionMask::causal(), {}, {}});
  EXPECT_TRUE(test::all_close(y, x));  // also after the scheme has drawn every other matrix
}

TEST_F(BlockFormTest, DecaysMatricesAlone) {
  for (const auto& block : blocks()) {
    SCOPED_TRACE(block.name);
    const Decoder<> decoder(find_scheme("pre"),
                            block_stack(block.name, NormKind::kLayerNorm).bias(true));
    const auto groups =
        train::decay_groups(*decoder, train::FusedAdamOptions(1e-3).weight_decay(0.1));
    for (const auto& parameter : groups[0].params()) EXPECT_EQ(parameter.dim(), 2);
    for (const auto& parameter : groups[1].params()) EXPECT_EQ(parameter.dim(), 1);
    EXPECT_EQ(groups[0].params().size() + groups[1].params().size(), decoder->parameters().size());
  }
}

TEST_F(BlockFormTest, TellsTheRolesOfAParallelLayer) {
  Decoder<> decoder(find_scheme("pre"), block_stack("sas-p", NormKind::kRmsNorm, 2));
  const auto anatomy = anatomy_of<Layer>(*decoder, Stack::kDecoder);
  EXPECT_EQ(test::sublayers_of(anatomy), (test::Lines{"decoder 0 parallel", "decoder 1 parallel"}));
  const auto lines = test::parameters_of(anatomy);
  const auto has = [&](const std::string& line) {
    return std::find(lines.begin(), lines.end(), line) != lines.end();
  };
  EXPECT_TRUE(has("layer_0.parallel.attention.v_proj.weight: value, decoder 0"));
  EXPECT_TRUE(has("layer_1.parallel.attention.q_proj.weight: query, decoder 1"));
  EXPECT_TRUE(has("layer_1.parallel.attention.alpha: gain, decoder 1"));
  EXPECT_TRUE(has("layer_1.parallel.feed_forward.fc1.weight: feed-forward in, decoder 1"));
  EXPECT_TRUE(has("layer_1.parallel.feed_forward.fc2.weight: feed-forward out, decoder 1"));
  EXPECT_TRUE(has("layer_1.parallel.feed_forward_gain: gain, decoder 1"));
}

TEST_F(BlockFormTest, IsFoundByNameInEveryModel) {
  LanguageModel<> model(find_scheme("pre"),
                        LanguageModelOptions()
                            .num_layers(2)
                            .embed_dim(8)
                            .num_heads(2)
                            .dim_feedforward(16)
                            .vocab_size(20)
                            .block("sas-p"));
  EXPECT_EQ(model->decoder->layers[0]->sublayers[0].name, "parallel");
  for (const auto& block : blocks()) EXPECT_EQ(find_block(block.name).title, block.title);
}

// What of each scheme a block with gains of its own cannot have, and what a parallel one cannot.
struct SchemeConflict {
  const char* scheme;
  std::string with_gains;
  std::string parallel;
};

std::vector<SchemeConflict> scheme_conflicts() {
  const std::string shortcut = "a gain of the shortcut";
  const std::string branch = "a gain of the branch";
  const std::string second = "a second stream";
  const std::string norms = "norms that differ between the two";
  return {{"post", "", ""},
          {"pre", "", ""},
          {"admin", shortcut, ""},
          {"admin-o1", shortcut, ""},
          {"admin-constant", shortcut, ""},
          {"admin-profiled", shortcut, ""},
          {"tfixup", "", ""},
          {"deepnorm", shortcut, ""},
          {"rezero", branch, ""},
          {"skipinit", branch, ""},
          {"layerscale", branch, ""},
          {"peri", "", ""},
          {"subln", "", ""},
          {"b2t", second, second},
          {"residual-dual", second, second},
          {"lns", "", ""},
          {"completep", branch, ""},
          {"branchnorm", branch, ""},
          {"normformer", "a gain of the heads", norms},
          {"keel", shortcut, ""},
          {"mixln", "", ""},
          {"hybridnorm", "", norms},
          {"hybridnorm-star", shortcut, "gains of the shortcut that differ between the two"},
          {"siamesenorm", second, second}};
}

TEST_F(BlockFormTest, FitsEverySchemeOrSaysWhyNot) {
  const auto conflicts = scheme_conflicts();
  ASSERT_EQ(conflicts.size(), schemes().size());
  for (const auto& c : conflicts) {
    for (const auto& block : blocks()) {
      SCOPED_TRACE(std::string(c.scheme) + " " + block.name);
      const auto scheme = find_scheme(c.scheme);
      const auto options = block_stack(block.name, NormKind::kLayerNorm);
      auto why = block.gains ? c.with_gains : std::string();
      if (why.empty() && block.parallel) why = c.parallel;
      if (!why.empty()) {
        const auto text = "but " + scheme.title + " has " + why;
        EXPECT_TRUE(test::throws([&] { Decoder<>(scheme, options); }, text));
        EXPECT_TRUE(test::throws([&] { Encoder<>(scheme, options); }, text));
        continue;
      }
      Encoder<> encoder(scheme, options);
      Decoder<> decoder(scheme, options);
      for (const auto& stack : {encoder.ptr()->parameters(), decoder.ptr()->parameters()}) {
        const torch::NoGradGuard no_grad;
        for (auto parameter : stack) parameter.add_(0.1 * torch::randn_like(parameter));
      }
      const auto x = torch::randn({2, 5, 8});
      const auto y = decoder(x);
      EXPECT_TRUE(encoder(x).isfinite().all().item<bool>());
      y.square().sum().backward();
      for (const auto& parameter : decoder->named_parameters()) {
        EXPECT_TRUE(parameter.value().grad().defined() &&
                    parameter.value().grad().isfinite().all().item<bool>())
            << parameter.key();
      }
      DecoderCache cache;
      const auto begin = decoder->forward(x.narrow(1, 0, 3), {}, {}, &cache);
      const auto rest = decoder->forward(x.narrow(1, 3, 2), {}, {}, &cache);
      EXPECT_TRUE(test::all_close(torch::cat({begin, rest}, 1), y));
    }
  }
}

TEST_F(BlockFormTest, RefusesSchemesAndSublayersThatMakeNoSense) {
  const auto construct = [](const char* scheme, const char* block) {
    return [=] { Decoder<>(find_scheme(scheme), block_stack(block, NormKind::kLayerNorm)); };
  };
  EXPECT_TRUE(test::throws(construct("deepnorm", "sas"),
                           "block sas: expected a scheme with one stream and without gains, as the "
                           "block has gains of its own, but DeepNorm has a gain of the shortcut"));
  EXPECT_TRUE(
      test::throws(construct("hybridnorm", "parallel"),
                   "block parallel: expected a scheme with one stream that treats attention "
                   "and feed-forward alike, as they share a residual, but HybridNorm has norms "
                   "that differ between the two"));
  EXPECT_TRUE(test::throws(
      [] { Decoder<>(find_scheme("pre"), StackOptions(2, 8, 2, 16).block("parallel")); },
      "block parallel: expected layers of self-attention and feed-forward alone, as they are "
      "parallel, but got other sub-layers; a decoder-only model says cross_attention(false)"));
  EXPECT_TRUE(
      test::throws<c10::ValueError>(construct("pre", "sasp"), "but got sasp; the nearest is sas"));
  Parallel parallel(MultiHeadAttention(MultiHeadAttentionOptions(8, 2)),
                    FeedForward(FeedForwardOptions(8, 16)));
  const auto x = torch::randn({1, 2, 8});
  EXPECT_TRUE(test::throws([&] { parallel->cross_attention(x, x, {}, nullptr); },
                           "Parallel: expected to be self-attention, but got a memory"));
  EXPECT_TRUE(test::throws(
      [&] {
        Parallel(parallel->attention,
                 parallel->feed_forward,
                 ParallelOptions().attention(Gain::ramp(1.0, 10)));
      },
      "Parallel: expected scalar gains that do not follow the training step, but got a ramp"));
}

}  // namespace
}  // namespace evenkeel::nn
