// SPDX-License-Identifier: MIT
#include <evenkeel/fold/fold.hpp>

#include <evenkeel/residual/registry.hpp>
#include <evenkeel/residual/training_step.hpp>

#include "errors.hpp"
#include "fixture.hpp"
#include "fold_models.hpp"
#include "gradients.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/optim/sgd.h>
#include <torch/types.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::clone_of;
using test::copy_of_state;
using test::has_state;
using test::same_outputs;
using test::shares_nothing;
using test::throws;
using torch::Tensor;

// Schemes that cannot be folded, and why.
const std::map<std::string, std::string>& refused() {
  static const std::map<std::string, std::string> reasons{
      {"peri", "norms at: input, branch"},
      {"subln", "norms at: input, inside"},
      {"b2t", "second one, of the kind: layer input"},
      {"residual-dual", "second one, of the kind: dual"},
      {"siamesenorm", "second one, of the kind: siamese"},
      {"normformer", "norms at: input, branch"},
      {"keel", "norms at: input, sum"},
      {"hybridnorm", "norms at: query and key, value"},
      {"hybridnorm-star", "norms at: input, query and key, value"}};
  return reasons;
}

const std::vector<std::string> kNothingToFold{"post", "pre", "tfixup", "mixln"};

class EverySchemeTest : public test::SeededTest, public ::testing::WithParamInterface<std::string> {
 protected:
  static const Scheme& scheme() { return find_scheme(GetParam()); }

  // The folded model has the outputs of `model` and is plain, or the scheme is refused by name.
  template <typename Model, typename Forward>
  static void check(Model model, Forward&& forward) {
    test::scramble(*model);
    set_training_step(*model, 1234);
    for (const auto dtype : {torch::kFloat64, torch::kFloat32}) {
      model->to(dtype);
      const auto before = copy_of_state(*model);
      FoldReport report;
      if (refused().count(GetParam()) > 0) {
        EXPECT_TRUE(throws([&] { fold(model); }, refused().at(GetParam())));
        EXPECT_TRUE(throws([&] { fold(model); }, scheme().title + " cannot be folded"));
        return;
      }
      auto plain = fold(model, &report);
      EXPECT_TRUE(same_outputs(forward(plain), forward(model)));
      EXPECT_TRUE(test::is_plain(*plain));
      EXPECT_TRUE(has_state(*model, before));
      EXPECT_TRUE(shares_nothing(*model, *plain));
      const bool nothing = std::count(kNothingToFold.begin(), kNothingToFold.end(), GetParam()) > 0;
      EXPECT_EQ(report.rows().empty(), nothing);
      if (nothing) {
        EXPECT_EQ(report.notes(),
                  std::vector<std::string>{"nothing to fold: " + scheme().title + " has no gains"});
      }
    }
  }
};

TEST_P(EverySchemeTest, Encoder) {
  const auto x = torch::randn({2, 5, 8}, torch::kFloat64);
  const auto mask = test::padding_mask();
  check(nn::Encoder<>(scheme(), {4, 8, 2, 12}), [&](nn::Encoder<>& encoder) {
    return encoder->forward(x.to(encoder->parameters().front().scalar_type()), mask);
  });
}

TEST_P(EverySchemeTest, Decoder) {
  const auto x = torch::randn({2, 5, 8}, torch::kFloat64);
  const auto memory = torch::randn({2, 7, 8}, torch::kFloat64);
  check(nn::Decoder<>(scheme(), nn::StackOptions(4, 8, 2, 12).other_layers(3)),
        [&](nn::Decoder<>& decoder) {
          const auto dtype = decoder->parameters().front().scalar_type();
          return decoder->forward(x.to(dtype), memory.to(dtype));
        });
}

TEST_P(EverySchemeTest, EncoderDecoder) {
  for (const bool tied : {true, false}) {
    auto options = test::small_transformer().tie_embeddings(tied);
    if (!tied) options.src_vocab_size(9);
    check(nn::Transformer<>(scheme(), options),
          [](nn::Transformer<>& model) { return model->forward(test::source(), test::target()); });
  }
}

TEST_P(EverySchemeTest, LanguageModel) {
  for (const bool tied : {true, false}) {
    check(nn::LanguageModel<>(scheme(), test::small_language_model().tie_embeddings(tied)),
          [](nn::LanguageModel<>& model) { return model->forward(test::target()); });
  }
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  for (const auto& scheme : schemes()) names.push_back(scheme.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Schemes,
                         EverySchemeTest,
                         ::testing::ValuesIn(scheme_names()),
                         [](const auto& scheme) {
                           auto name = scheme.param;
                           name.erase(std::remove(name.begin(), name.end(), '-'), name.end());
                           return name;
                         });

class FoldTest : public test::SeededTest {};

TEST_F(FoldTest, EveryNormTakesTheGains) {
  const auto norms = {NormKind::kLayerNorm,
                      NormKind::kRmsNorm,
                      NormKind::kScaleNorm,
                      NormKind::kDyT};
  for (const auto norm : norms) {
    for (const auto* name : {"admin", "admin-constant", "deepnorm", "lns", "completep"}) {
      SCOPED_TRACE(std::string(to_string(norm)) + " " + name);
      nn::Transformer<> model(find_scheme(name), test::small_transformer().norm(norm));
      test::scramble(*model);
      model->to(torch::kFloat64);
      if (norm == NormKind::kScaleNorm && std::string(name) == "admin") {
        EXPECT_TRUE(throws([&] { fold(model); },
                           "expected encoder.layer_3.self_attn_residual.norm to take a factor for "
                           "each channel on its output, but got ScaleNorm"));
        continue;
      }
      auto plain = fold(model);
      EXPECT_TRUE(same_outputs(plain->forward(test::source(), test::target()),
                               model->forward(test::source(), test::target())));
      EXPECT_TRUE(test::is_plain(*plain));
    }
  }
}

TEST_F(FoldTest, SmallInputsFeelEps) {  // what an eps that is left alone would show
  nn::Encoder<> model(find_scheme("admin-constant"), {3, 8, 2, 12});
  model->to(torch::kFloat64);
  const auto x = 1e-3 * torch::randn({2, 5, 8}, torch::kFloat64);
  EXPECT_TRUE(same_outputs(fold(model)->forward(x), model->forward(x)));
}

TEST_F(FoldTest, EveryFormOfTheBranches) {
  for (const auto activation : {Activation::kReLU, Activation::kGELU, Activation::kSwiGLU}) {
    for (const bool bias : {true, false}) {
      auto options = test::small_transformer().activation(activation).bias(bias).num_kv_heads(1);
      nn::Transformer<Admin> model(options);
      test::scramble(*model);
      model->to(torch::kFloat64);
      EXPECT_TRUE(same_outputs(fold(model)->forward(test::source(), test::target()),
                               model->forward(test::source(), test::target())));
    }
  }
}

TEST_F(FoldTest, SeparateProjections) {
  for (const int64_t kv_heads : {0, 1}) {
    std::vector<nn::Layer> layers;
    for (int64_t i = 0; i < 2; ++i) layers.push_back(test::separate_layer<Admin>(2, i, kv_heads));
    nn::Decoder<> model(find_scheme("admin"), {2, 8, 2, 12}, layers);
    test::scramble(*model);
    model->to(torch::kFloat64);
    const auto x = torch::randn({2, 5, 8}, torch::kFloat64);
    const auto memory = torch::randn({2, 7, 8}, torch::kFloat64);
    auto plain = fold(model);
    EXPECT_TRUE(same_outputs(plain->forward(x, memory), model->forward(x, memory)));
    EXPECT_TRUE(test::is_plain(*plain));
  }
}

TEST_F(FoldTest, TrainingModeAndItsDropoutStay) {
  auto options = test::small_transformer().dropout(0.3).attention_dropout(0.2);
  nn::Transformer<Admin> model(options.activation_dropout(0.1));
  test::scramble(*model);
  model->to(torch::kFloat64);
  const auto forward = [](auto& of) {
    torch::manual_seed(5);
    return of->forward(test::source(), test::target());
  };
  model->train();
  auto plain = fold(model);
  EXPECT_TRUE(plain->is_training());
  EXPECT_TRUE(same_outputs(forward(plain), forward(model)));
  model->eval();
  plain = fold(model);
  EXPECT_FALSE(plain->encoder->layers[0]->sublayers[0].residual->is_training());
  EXPECT_TRUE(same_outputs(forward(plain), forward(model)));
}

TEST_F(FoldTest, GenerationWithACacheGivesTheSameTokens) {
  nn::Transformer<Admin> model(test::small_transformer());
  test::scramble(*model);
  model->eval();
  auto plain = fold(model);
  EXPECT_TRUE(same_outputs(test::generate(*plain), test::generate(*model)));
}

TEST_F(FoldTest, TiedEmbeddingsStayTied) {
  nn::Transformer<Admin> model(test::small_transformer());
  test::scramble(*model);
  auto plain = fold(model);
  EXPECT_TRUE(plain->options.tie_embeddings());
  EXPECT_TRUE(plain->src_embedding.ptr() == plain->tgt_embedding.ptr());
  EXPECT_TRUE(test::same_bits(plain->src_embedding->weight, model->src_embedding->weight));
}

TEST_F(FoldTest, ClonesAndCheckpointsOfAFoldedModelComputeTheSame) {
  nn::Transformer<Admin> model(test::small_transformer());
  test::scramble(*model);
  model->eval();
  auto plain = fold(model);
  const auto expected = plain->forward(test::source(), test::target());
  auto copy = clone_of(plain);
  EXPECT_TRUE(test::same_bits(copy->forward(test::source(), test::target()), expected));

  nn::Transformer<> fresh(plain->scheme(), plain->options);
  fresh->eval();
  test::save_and_load(plain, fresh);  // vectors leave every eps as it is
  EXPECT_TRUE(test::same_bits(fresh->forward(test::source(), test::target()), expected));
}

TEST_F(FoldTest, FoldingAgainChangesNothing) {
  for (const auto* name : {"admin", "deepnorm", "layerscale"}) {
    nn::Transformer<> model(find_scheme(name), test::small_transformer());
    test::scramble(*model);
    const auto plain = fold(model);
    FoldReport report;
    const auto again = fold(plain, &report);
    EXPECT_TRUE(test::same_state(*again, *plain));
    EXPECT_TRUE(report.rows().empty());
  }
}

TEST_F(FoldTest, RandomNumbersAreNotConsumed) {
  nn::Transformer<Admin> model(test::small_transformer());
  torch::manual_seed(7);
  const auto expected = torch::randn({3});
  torch::manual_seed(7);
  fold(model);
  EXPECT_TRUE(test::same_bits(torch::randn({3}), expected));
}

TEST_F(FoldTest, HalfPrecisionIsTheRoundedFold) {
  for (const auto* name : {"admin", "deepnorm", "completep"}) {
    nn::Transformer<> model(find_scheme(name), test::small_transformer());
    test::scramble(*model);
    model->to(torch::kBFloat16);
    auto half = fold(model);
    model->to(torch::kFloat64);
    auto exact = fold(model);
    exact->to(torch::kBFloat16);
    EXPECT_TRUE(test::same_state(*half, *exact));
  }
}

// W' = W / w, so dL/dW' = w dL/dW.
TEST_F(FoldTest, GradientsFollowTheChainRule) {
  nn::Transformer<DeepNorm> model(test::small_transformer());
  test::scramble(*model);
  model->to(torch::kFloat64);
  model->eval();
  auto plain = fold(model);
  const auto backward = [](auto& of) {
    of->forward(test::source(), test::target()).sin().sum().backward();
  };
  backward(model);
  backward(plain);
  const auto of = [](auto& any) { return any->decoder->layers[1]->sublayers[2]; };
  const auto omega = of(model).residual->omega;
  const auto expected = of(model).branch.template as<nn::FeedForward>();
  const auto folded = of(plain).branch.template as<nn::FeedForward>();
  EXPECT_TRUE(same_outputs(folded->fc2->weight.grad(), expected->fc2->weight.grad() * omega));
  EXPECT_TRUE(same_outputs(folded->fc2->bias.grad(), expected->fc2->bias.grad() * omega));
  EXPECT_TRUE(same_outputs(folded->fc1->weight.grad(), expected->fc1->weight.grad()));
  EXPECT_TRUE(
      same_outputs(plain->src_embedding->weight.grad(), model->src_embedding->weight.grad()));
}

TEST_F(FoldTest, GradientsOfAFoldedVectorAreRight) {
  nn::Encoder<Admin> model(nn::StackOptions(1, 8, 2, 12));
  test::scramble(*model);
  model->to(torch::kFloat64);
  auto plain = fold(model);
  const auto x = torch::randn({1, 3, 8}, torch::kFloat64);
  auto& sublayers = plain->layers[0]->sublayers;
  EXPECT_TRUE(
      test::gradients_are_right([&] { return plain->forward(x); },
                                {sublayers[0].branch.as<nn::MultiHeadAttention>()->in_proj_weight,
                                 sublayers[0].residual->sum_norm->named_parameters()["weight"],
                                 sublayers[1].branch.as<nn::FeedForward>()->fc1->weight}));
}

TEST_F(FoldTest, FoldedModelsGoOnTraining) {
  nn::Transformer<Admin> model(test::small_transformer());
  auto plain = fold(model);
  torch::optim::SGD sgd(plain->parameters(), 1e-2);
  const auto loss = [&] { return plain->forward(test::source(), test::target()).square().mean(); };
  const auto before = loss();
  before.backward();
  sgd.step();
  EXPECT_LT(loss().item<double>(), before.item<double>());
}

}  // namespace
}  // namespace evenkeel
