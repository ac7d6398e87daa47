// SPDX-License-Identifier: MIT
// Schemes of a user's own, and what cannot be folded.
#include <evenkeel/fold/fold.hpp>

#include <evenkeel/residual/registry.hpp>

#include "errors.hpp"
#include "fixture.hpp"
#include "fold_models.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <limits>
#include <string>
#include <vector>

namespace evenkeel::test {

// A branch of a user's own.
class MixerImpl : public torch::nn::Cloneable<MixerImpl> {
 public:
  MixerImpl() { reset(); }
  void reset() override { fc = register_module("fc", torch::nn::Linear(8, 8)); }
  torch::Tensor forward(const torch::Tensor& x) { return fc(x); }
  torch::nn::Linear fc{nullptr};
};
TORCH_MODULE(Mixer);

}  // namespace evenkeel::test

template <>
struct evenkeel::AnatomyOf<evenkeel::test::Mixer> {
  static void describe(test::MixerImpl& mixer, SublayerBuilder& sublayer) {
    sublayer.input(mixer.fc);
  }
};

namespace evenkeel {
namespace {

using test::same_outputs;
using test::throws;

Scheme own(Norms norms, Gain shortcut, Gain branch, double norm_gain = 1.0) {
  Scheme scheme;
  scheme.norms = [=](const Position&) { return norms; };
  scheme.shortcut = [=](const Position&) { return shortcut; };
  scheme.branch = [=](const Position&) { return branch; };
  scheme.norm_gain = [=](const Position&) { return norm_gain; };
  return scheme;
}

const Gain kVector = Gain::trained(1.2, GainShape::kPerChannel);
const Gain kScalar = Gain::trained(0.8, GainShape::kScalar);

class FoldOwnSchemeTest : public test::SeededTest {
 protected:
  template <typename Model>
  static Model scrambled(Model model) {
    test::scramble(*model);
    model->to(torch::kFloat64);
    return model;
  }

  static void check(const Scheme& scheme, NormKind norm = NormKind::kLayerNorm) {
    auto model = scrambled(nn::Transformer<>(scheme, test::small_transformer().norm(norm)));
    auto plain = fold(model);
    EXPECT_TRUE(same_outputs(plain->forward(test::source(), test::target()),
                             model->forward(test::source(), test::target())));
    EXPECT_TRUE(test::is_plain(*plain));
  }

  static nn::Encoder<> encoder(const Scheme& scheme) {
    return scrambled(nn::Encoder<>(scheme, {2, 8, 2, 12}));
  }
};

TEST_F(FoldOwnSchemeTest, GainsOfEveryPartInPostNorm) {
  check(own(Norms::at_sum(), kVector, kVector, 0.7));
  check(own(Norms::at_sum(), kScalar, kVector, 0.7));
  check(own(Norms::at_sum(), kVector, kVector, 0.7), NormKind::kRmsNorm);
  check(own(Norms::at_sum(), kVector, kVector, 0.7), NormKind::kDyT);
  check(own(Norms::at_sum(), kScalar, kScalar, 0.7), NormKind::kScaleNorm);
}

TEST_F(FoldOwnSchemeTest, GainsOfEveryPartInPreNorm) {
  for (const auto norm :
       {NormKind::kLayerNorm, NormKind::kRmsNorm, NormKind::kScaleNorm, NormKind::kDyT}) {
    check(own(Norms::at_input(), kScalar, kVector, 0.7), norm);
  }
}

TEST_F(FoldOwnSchemeTest, GainsWithoutNorms) {
  check(own(Norms::none(), kVector, kVector));
  check(own(Norms::none(), kScalar, kScalar.shared_in_layer()));
}

TEST_F(FoldOwnSchemeTest, NormsThatDifferBetweenSublayers) {
  auto scheme = own(Norms::at_sum(), Gain::one(), kVector);
  scheme.norms = [](const Position& position) {
    if (position.stack == Stack::kEncoder) return Norms::at_sum();
    return position.layer % 2 == 0 ? Norms::at_input() : Norms::at_sum();
  };
  scheme.shortcut = [](const Position& position) {
    return position.stack == Stack::kEncoder ? kVector : kScalar;
  };
  check(scheme);
  auto model = scrambled(nn::Transformer<>(scheme, test::small_transformer()));
  const auto plain = fold(model);
  const nn::Transformer<> fresh(plain->scheme(), plain->options);
  EXPECT_EQ(test::state_names(*fresh), test::state_names(*plain));
}

TEST_F(FoldOwnSchemeTest, NegativeGains) {
  check(own(Norms::at_sum(), Gain::fixed(-1.3), Gain::one()));
  check(own(Norms::at_input(), Gain::fixed(-0.9), Gain::fixed(-2.0)));
  check(own(Norms::at_sum(), Gain::fixed(-1.3), Gain::one()), NormKind::kScaleNorm);
}

TEST_F(FoldOwnSchemeTest, GainsOfTheHeads) {
  auto scheme = own(Norms::at_input(), Gain::one(), kScalar);
  scheme.head_gain = [](const Position&) { return kVector; };
  check(scheme);
  scheme.head_gain = [](const Position&) { return kScalar; };
  check(scheme);
  FoldReport report;
  fold(encoder(scheme), &report);
  EXPECT_EQ(report.rows().front().gain, GainSlot::kBranch);
}

TEST_F(FoldOwnSchemeTest, ABranchGainOfZeroGivesAMatrixOfZeros) {
  nn::Encoder<ReZero> model(nn::StackOptions(2, 8, 2, 12));
  const auto x = torch::randn({2, 5, 8});
  auto plain = fold(model);
  EXPECT_TRUE(test::same_bits(plain->forward(x), x));
  plain->forward(x).sum().backward();
  const auto& gradient =
      plain->layers[0]->sublayers[1].branch.as<nn::FeedForward>()->fc2->weight.grad();
  EXPECT_GT(gradient.abs().max().item<double>(), 0.0);  // it can be trained on
}

TEST_F(FoldOwnSchemeTest, AShortcutGainOfZeroIsRefused) {
  auto model = encoder(find_scheme("admin"));
  const torch::NoGradGuard no_grad;
  model->layers[1]->sublayers[0].residual->omega[3] = 0.0;
  EXPECT_TRUE(throws([&] { fold(model); }, "got 0 at layer_1.self_attn"));
  model->layers[1]->sublayers[0].residual->omega[3] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(throws([&] { fold(model); }, "got NaN or infinity at layer_1.self_attn"));
}

TEST_F(FoldOwnSchemeTest, AVectorOnAPreNormShortcutIsRefused) {
  const auto model = encoder(own(Norms::at_input(), kVector, Gain::one()));
  EXPECT_TRUE(throws([&] { fold(model); },
                     "expected one value for all channels of the shortcut's gain, as the norm of "
                     "layer_1.feed_forward reads all channels"));
}

TEST_F(FoldOwnSchemeTest, ABranchOfAnotherTypeIsKeptOrNamed) {
  const auto made = [](const Scheme& scheme) {
    const Position position = Position::encoder_only(1, 0, 0, {SublayerKind::kOther});
    nn::Layer layer(std::vector<nn::Sublayer>{{"mlp",
                                               SublayerKind::kOther,
                                               test::Mixer(),
                                               Residual<>(scheme, ResidualOptions(position, 8))}});
    nn::Encoder<> encoder(scheme, {1, 8, 2, 12}, std::vector<nn::Layer>{layer});
    encoder->to(torch::kFloat64);
    return encoder;
  };
  const auto x = torch::randn({2, 5, 8}, torch::kFloat64);
  auto post = made(find_scheme("post"));
  EXPECT_TRUE(test::same_bits(fold(post)->forward(x), post->forward(x)));
  EXPECT_TRUE(throws([&] { fold(made(find_scheme("deepnorm"))); },
                     "expected layer_0.mlp to be nn::MultiHeadAttention or nn::FeedForward"));
}

// Computes something else than its base class.
class DoubledFeedForwardImpl : public nn::FeedForwardImpl {
 public:
  DoubledFeedForwardImpl() : nn::FeedForwardImpl(nn::FeedForwardOptions(8, 12)) {}
  torch::Tensor forward(const torch::Tensor& x) { return nn::FeedForwardImpl::forward(x).square(); }
};
TORCH_MODULE(DoubledFeedForward);

TEST_F(FoldOwnSchemeTest, ADerivedBranchIsNotTakenForItsBase) {
  nn::AnyBranch branch(DoubledFeedForward(), SublayerKind::kFeedForward);
  EXPECT_TRUE(
      throws([&] { detail::fold_branch(branch, SublayerKind::kFeedForward, 2.0, 1.0, "a"); },
             "expected a to be nn::MultiHeadAttention or nn::FeedForward"));
}

class OwnNormImpl : public torch::nn::Cloneable<OwnNormImpl>, public NormModule {
 public:
  explicit OwnNormImpl(int64_t /*embed_dim*/) {}
  void reset() override {}
  torch::Tensor forward(const torch::Tensor& x) { return x / (1.0 + x.abs()); }
};
TORCH_MODULE(OwnNorm);

TEST_F(FoldOwnSchemeTest, ANormOfAnotherTypeIsKeptOrNamed) {
  const auto options = nn::StackOptions(2, 8, 2, 12).norm(NormType::of<OwnNorm>());
  const auto x = torch::randn({2, 5, 8}, torch::kFloat64);
  for (const auto* name : {"completep", "lns"}) {  // the readers take the norm's gain
    auto model = scrambled(nn::Encoder<>(find_scheme(name), options));
    EXPECT_TRUE(same_outputs(fold(model)->forward(x), model->forward(x)));
  }
  auto model = scrambled(nn::Encoder<>(find_scheme("deepnorm"), options));
  EXPECT_TRUE(throws([&] { fold(model); },
                     "expected layer_1.feed_forward_residual.norm to be LayerNorm, RMSNorm, "
                     "ScaleNorm or DyT"));
}

TEST_F(FoldOwnSchemeTest, ABranchWithANormInsideIsRefused) {
  auto model = encoder(find_scheme("pre"));
  auto attention = nn::MultiHeadAttention(
      nn::MultiHeadAttentionOptions(8, 2).inside_norm(nn::InsideNorm{NormKind::kLayerNorm}));
  model->layers[1]->sublayers[0].branch = nn::AnyBranch(attention, SublayerKind::kSelfAttention);
  EXPECT_TRUE(throws([&] { fold(model); }, "expected layer_1.self_attn without norms of its own"));
}

TEST_F(FoldOwnSchemeTest, ASimplifiedBlockIsRefusedByItsBranch) {
  const auto decoder = [](const char* block) {
    const auto options = nn::StackOptions(2, 16, 4, 32).cross_attention(false).block(block);
    return nn::Decoder<>(find_scheme("pre"), options);
  };
  EXPECT_TRUE(throws([&] { fold(decoder("sas")); }, "but got evenkeel::nn::ShapedAttention"));
  EXPECT_TRUE(throws([&] { fold(decoder("value-skipinit")); }, "ShapedAttention"));
  EXPECT_TRUE(throws([&] { fold(decoder("sas-p")); }, "but got evenkeel::nn::Parallel"));
  EXPECT_TRUE(throws([&] { fold(decoder("parallel")); }, "but got evenkeel::nn::Parallel"));
  EXPECT_TRUE(throws([&] { fold(decoder("op")); }, "norms of its own"));
}

TEST_F(FoldOwnSchemeTest, AnEmptyHolderIsRefused) {
  EXPECT_TRUE(throws([] { fold(nn::Encoder<>()); }, "expected a model, but got an empty holder"));
}

TEST_F(FoldOwnSchemeTest, TheReportSaysWhatMovedWhere) {
  nn::Encoder<> model(find_scheme("admin"), {1, 8, 2, 12});
  {
    const torch::NoGradGuard no_grad;
    model->layers[0]->sublayers[0].residual->omega.copy_(torch::linspace(1, 2, 8));
    model->layers[0]->sublayers[1].residual->omega.fill_(2.0);
  }
  FoldReport report;
  fold(model, &report);
  EXPECT_EQ(report.to_string(),
            "sub-layer             gain                  values  moved to\n"
            "layer_0.self_attn     shortcut              1 to 2  input_scale; its input matrices, "
            "divided\n"
            "layer_0.feed_forward  shortcut                   2  output matrix and bias, divided; "
            "its norm's eps is 2.5e-06\n"
            "note: input_scale: no norm precedes the first sub-layer\n"
            "note: eps is an option of a norm, and not part of a state dict\n");
}

}  // namespace
}  // namespace evenkeel
