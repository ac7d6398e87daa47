// SPDX-License-Identifier: MIT
#include <evenkeel/nn/encoder.hpp>

#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/tfixup.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "modules.hpp"
#include "stacks.hpp"
#include "torch_layers.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/transformercoder.h>
#include <torch/nn/modules/transformerlayer.h>
#include <torch/nn/options/transformercoder.h>
#include <torch/nn/options/transformerlayer.h>
#include <torch/types.h>

#include <cmath>
#include <string>

namespace evenkeel::nn {
namespace {

using test::all_close;
using test::same_bits;
using test::small_stack;
using test::throws;

class EncoderTest : public test::DeviceTest {
 protected:
  template <typename Scheme>
  static void expect_right_gradients() {
    Encoder<Scheme> layer(StackOptions(1, 4, 2, 6));
    layer->to(device(), torch::kFloat64);
    test::randomise(*layer);
    const auto x = randn({2, 3, 4}, torch::kFloat64).requires_grad_();
    auto inputs = layer->parameters();
    inputs.push_back(x);
    EXPECT_TRUE(test::gradients_are_right([&] { return layer(x); }, inputs))
        << scheme_of<Scheme>().title;
  }
};

TEST_P(EncoderTest, OfPostNormEqualsTorchs) {
  Encoder<PostNorm> encoder(small_stack(3));
  test::randomise(*encoder);
  torch::nn::TransformerEncoder theirs(torch::nn::TransformerEncoderOptions(
      torch::nn::TransformerEncoderLayer(
          torch::nn::TransformerEncoderLayerOptions(8, 2).dim_feedforward(12).dropout(0.0)),
      3));
  test::copy_into_torch(*encoder, *theirs, "norm2");
  encoder->to(device());
  theirs->to(device());
  const auto x = randn({2, 5, 8});
  const auto padding = torch::tensor({{0, 0, 0, 0, 0}, {0, 0, 0, 1, 1}}).to(options(torch::kBool));
  const auto y = encoder(x, AttentionMask::padding(padding));
  const auto expected = theirs(x.transpose(0, 1), torch::Tensor(), padding).transpose(0, 1);

  EXPECT_TRUE(all_close(encoder(x), theirs(x.transpose(0, 1)).transpose(0, 1)));
  EXPECT_TRUE(all_close(y, expected));
}

TEST_P(EncoderTest, HasRightGradientsInEveryScheme) {
  expect_right_gradients<PostNorm>();
  expect_right_gradients<PreNorm>();
  expect_right_gradients<Admin>();
  expect_right_gradients<TFixup>();
}

TEST_P(EncoderTest, DoesNotLetPaddingChangeRealTokens) {
  auto encoder = on_device(Encoder<Admin>(small_stack(2)));
  const auto x = randn({1, 3, 8});
  const auto padded = torch::cat({x, randn({1, 2, 8})}, 1);
  const auto padding = torch::tensor({{0, 0, 0, 1, 1}}).to(options(torch::kBool));

  EXPECT_TRUE(
      all_close(encoder(padded, AttentionMask::padding(padding)).narrow(1, 0, 3), encoder(x)));
}

TEST_P(EncoderTest, ClonesSavesAndLoads) {
  auto encoder = on_device(Encoder<Admin>(small_stack(2)));
  test::randomise(*encoder);
  auto copy = test::clone_of(encoder);
  auto loaded = on_device(Encoder<Admin>(small_stack(2)));
  test::save_and_load(encoder, loaded);
  const auto x = randn({2, 5, 8});

  EXPECT_TRUE(test::same_state(*copy, *encoder));
  EXPECT_TRUE(test::shares_nothing(*copy, *encoder));
  EXPECT_TRUE(same_bits(copy(x), encoder(x)));
  EXPECT_TRUE(test::same_state(*loaded, *encoder));
  EXPECT_TRUE(same_bits(loaded(x), encoder(x)));
}

TEST_P(EncoderTest, RunsInHalfPrecision) {
  Encoder<Admin> encoder(small_stack(2));
  encoder->to(device(), torch::kBFloat16);
  const auto y = encoder(randn({2, 5, 8}).to(torch::kBFloat16));

  EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(y.isfinite().all().item<bool>());
}

TEST_P(EncoderTest, DropsWhileTrainingOnly) {
  for (const auto& options : {small_stack(1).dropout(0.5),
                              small_stack(1).attention_dropout(0.5),
                              small_stack(1).activation_dropout(0.5)}) {
    auto encoder = on_device(Encoder<PreNorm>(options));
    const auto x = randn({2, 5, 8});
    EXPECT_FALSE(all_close(encoder(x), encoder(x)));
    encoder->eval();
    EXPECT_TRUE(same_bits(encoder(x), encoder(x)));
  }
}

EVENKEEL_ON_EVERY_DEVICE(EncoderTest);

class EncoderPartsTest : public test::SeededTest {
 protected:
  template <typename Scheme>
  static FeedForward feed_forward(Encoder<Scheme>& encoder, size_t layer) {
    return encoder->layers[layer]->sublayer("feed_forward").branch.template as<FeedForward>();
  }
};

TEST_F(EncoderPartsTest, TakesPartInSequential) {
  Encoder<Admin> first(small_stack(1));
  Encoder<TFixup> second(small_stack(1));
  torch::nn::Sequential both(first, second);
  const auto x = torch::randn({2, 5, 8});
  EXPECT_TRUE(same_bits(both->forward(x), second(first(x))));
}

TEST_F(EncoderPartsTest, EndsInANormWhereTheLastSumHasNone) {
  EXPECT_FALSE(Encoder<PreNorm>(small_stack(1))->end->norm.is_empty());
  EXPECT_TRUE(Encoder<PostNorm>(small_stack(1))->end->norm.is_empty());
  EXPECT_TRUE(Encoder<Admin>(small_stack(1))->end->norm.is_empty());
  EXPECT_TRUE(Encoder<TFixup>(small_stack(1))->end->norm.is_empty());

  Encoder<PreNorm> encoder(small_stack(2));
  const auto x = torch::randn({2, 5, 8});
  const auto before_norm = encoder->layers[1](encoder->layers[0](x));
  EXPECT_TRUE(all_close(encoder(x), encoder->end->norm(before_norm)));
}

TEST_F(EncoderPartsTest, CountsTwoSublayersALayerForOmega) {
  Encoder<Admin> encoder(small_stack(18));
  const auto omega = torch::full({8}, 3.0408390381813574);  // mpmath, see omega_test.cpp
  for (auto& layer : encoder->layers) {
    EXPECT_TRUE(all_close(layer->sublayer("self_attn").residual->omega.detach(), omega));
    EXPECT_TRUE(all_close(layer->sublayer("feed_forward").residual->omega.detach(), omega));
  }
  EXPECT_EQ(encoder->layers[17]->sublayer("feed_forward").residual->options.position().index, 35);
  EXPECT_EQ(encoder->layers[17]->sublayer("self_attn").residual->options.position().index, 34);
}

TEST_F(EncoderPartsTest, DrawsEveryLayerAfreshWithTheFactorsOfItsScheme) {
  Encoder<TFixup> encoder(StackOptions(6, 64, 4, 128));
  const auto first = feed_forward(encoder, 0)->fc1->weight.detach().clone();
  const auto report = encoder->reset_parameters();

  EXPECT_FALSE(all_close(feed_forward(encoder, 0)->fc1->weight.detach(), first));
  EXPECT_FALSE(
      all_close(feed_forward(encoder, 0)->fc1->weight, feed_forward(encoder, 1)->fc1->weight));
  double squares = 0.0;
  for (size_t i = 0; i < 6; ++i) {
    squares += feed_forward(encoder, i)->fc1->weight.square().mean().item<double>() / 6.0;
  }
  const double variance = .42809187984500256 * .42809187984500256 * 2.0 / (64.0 + 128.0);
  EXPECT_TRUE(test::within_sampling_error(squares,
                                          variance,
                                          variance * std::sqrt(0.8 / (6.0 * 64.0 * 128.0))));
  EXPECT_NE(report.to_string().find("layer_5.feed_forward.fc2.weight"), std::string::npos);
}

TEST(EncoderErrorTest, NamesTheSizesItNeeds) {
  EXPECT_TRUE(throws([] { Encoder<Admin> encoder(StackOptions(0, 8, 2, 12)); },
                     "Encoder: expected num_layers > 0, but got 0"));
  EXPECT_TRUE(throws([] { Encoder<Admin> encoder(StackOptions(1, 8, 2, 0)); },
                     "FeedForward: expected embed_dim and dim_feedforward > 0, but got 8 and 0"));
}

}  // namespace
}  // namespace evenkeel::nn
