// SPDX-License-Identifier: MIT
#include <evenkeel/nn/decoder.hpp>

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
#include <torch/nn/modules/transformercoder.h>
#include <torch/nn/modules/transformerlayer.h>
#include <torch/nn/options/transformercoder.h>
#include <torch/nn/options/transformerlayer.h>
#include <torch/types.h>

#include <limits>
#include <string>
#include <vector>

namespace evenkeel::nn {
namespace {

using test::all_close;
using test::same_bits;
using test::small_stack;
using test::throws;

constexpr int64_t kTokens = 5;

class DecoderTest : public test::DeviceTest {
 protected:
  static torch::Tensor random_tokens() { return randn({2, kTokens, 8}); }
  static torch::Tensor random_memory() { return randn({2, 4, 8}); }
  static torch::Tensor with_another_last_token(const torch::Tensor& x) {
    return torch::cat({x.narrow(1, 0, kTokens - 1), randn({2, 1, 8})}, 1);
  }

  template <typename Scheme>
  static void expect_right_gradients() {
    Decoder<Scheme> layer(StackOptions(1, 4, 2, 6));
    layer->to(device(), torch::kFloat64);
    test::randomise(*layer);
    const auto x = randn({2, 3, 4}, torch::kFloat64).requires_grad_();
    const auto memory = randn({2, 2, 4}, torch::kFloat64).requires_grad_();
    auto inputs = layer->parameters();
    inputs.push_back(x);
    inputs.push_back(memory);
    EXPECT_TRUE(test::gradients_are_right([&] { return layer->forward(x, memory); }, inputs))
        << scheme_of<Scheme>().title;
  }

  template <typename Scheme>
  static void expect_steps_equal_the_whole(bool cross_attention) {
    SCOPED_TRACE(scheme_of<Scheme>().title);
    auto decoder = on_device(Decoder<Scheme>(small_stack(2).cross_attention(cross_attention)));
    test::randomise(*decoder);
    const auto x = random_tokens();
    const auto memory = cross_attention ? random_memory() : torch::Tensor();
    DecoderCache cache;
    std::vector<torch::Tensor> steps;
    for (int64_t t = 0; t < kTokens; ++t) {
      steps.push_back(decoder->forward(x.narrow(1, t, 1), memory, {}, &cache));
      EXPECT_EQ(cache.length, t + 1);
    }
    EXPECT_TRUE(all_close(torch::cat(steps, 1), decoder->forward(x, memory)));
  }
};

TEST_P(DecoderTest, OfPostNormEqualsTorchs) {
  Decoder<PostNorm> decoder(small_stack(3));
  test::randomise(*decoder);
  torch::nn::TransformerDecoder theirs(torch::nn::TransformerDecoderOptions(
      torch::nn::TransformerDecoderLayer(
          torch::nn::TransformerDecoderLayerOptions(8, 2).dim_feedforward(12).dropout(0.0)),
      3));
  test::copy_into_torch(*decoder, *theirs, "norm3");
  decoder->to(device());
  theirs->to(device());
  const auto x = random_tokens();
  const auto memory = random_memory();
  const auto padding = torch::tensor({{0, 0, 0, 0}, {0, 0, 1, 1}}).to(options(torch::kBool));
  const auto later =  // torch::nn's adds its mask
      torch::full({kTokens, kTokens}, -std::numeric_limits<double>::infinity(), options()).triu(1);
  const auto expected = theirs(x.transpose(0, 1),
                               memory.transpose(0, 1),
                               later,
                               torch::Tensor(),
                               torch::Tensor(),
                               padding)
                            .transpose(0, 1);

  EXPECT_TRUE(all_close(decoder->forward(x, memory, AttentionMask::padding(padding)), expected));
}

TEST_P(DecoderTest, HasRightGradientsInEveryScheme) {
  expect_right_gradients<PostNorm>();
  expect_right_gradients<PreNorm>();
  expect_right_gradients<Admin>();
  expect_right_gradients<TFixup>();
}

TEST_P(DecoderTest, SeesNoLaterToken) {
  auto decoder = on_device(Decoder<Admin>(small_stack(2)));
  const auto x = random_tokens();
  const auto memory = random_memory();
  const auto y = decoder->forward(x, memory);
  const auto z = decoder->forward(with_another_last_token(x), memory);

  EXPECT_TRUE(all_close(y.narrow(1, 0, kTokens - 1), z.narrow(1, 0, kTokens - 1)));
  EXPECT_FALSE(all_close(y, z));
}

TEST_P(DecoderTest, SeesEveryTokenWithAMaskThatHidesNone) {
  auto decoder = on_device(Decoder<Admin>(small_stack(2)));
  const auto x = random_tokens();
  const auto memory = random_memory();
  const auto first = [&](const torch::Tensor& input) {
    return decoder->forward(input, memory, {}, nullptr, AttentionMask()).select(1, 0);
  };

  EXPECT_FALSE(all_close(first(x), first(with_another_last_token(x))));
}

TEST_P(DecoderTest, StepByStepWithACacheEqualsTheWhole) {
  for (const bool cross_attention : {true, false}) {
    expect_steps_equal_the_whole<PostNorm>(cross_attention);
    expect_steps_equal_the_whole<PreNorm>(cross_attention);
    expect_steps_equal_the_whole<Admin>(cross_attention);
  }
}

TEST_P(DecoderTest, SelectsCachedBatchRows) {
  auto decoder = on_device(Decoder<Admin>(small_stack(2)));
  const auto x = randn({3, kTokens, 8});
  const auto index = torch::tensor({2, 0, 2}).to(device());
  const auto last = [&](DecoderCache& cache, const torch::Tensor& memory) {
    return decoder->forward(x.index_select(0, index).narrow(1, kTokens - 1, 1), memory, {}, &cache);
  };
  const auto expected = [&](const torch::Tensor& memory) {
    return decoder->forward(x.index_select(0, index), memory).narrow(1, kTokens - 1, 1);
  };

  const auto memory = randn({3, 4, 8});
  DecoderCache cache;
  decoder->forward(x.narrow(1, 0, kTokens - 1), memory, {}, &cache);
  cache.select(index);
  const auto selected = memory.index_select(0, index);
  EXPECT_TRUE(all_close(last(cache, selected), expected(selected)));

  // The rows of one sentence read the same memory, which then need not be moved.
  const auto same = memory.narrow(0, 0, 1).expand({3, 4, 8});
  DecoderCache beams;
  decoder->forward(x.narrow(1, 0, kTokens - 1), same, {}, &beams);
  const auto kept = beams.layers[0][1].key;
  beams.select(index, /*same_memory=*/true);
  EXPECT_TRUE(beams.layers[0][1].key.is_same(kept));
  EXPECT_TRUE(all_close(last(beams, same), expected(same)));
}

TEST_P(DecoderTest, WithoutCrossAttentionReadsNoMemory) {
  auto decoder = on_device(Decoder<Admin>(small_stack(2).cross_attention(false)));
  const auto x = random_tokens();

  EXPECT_EQ(decoder->forward(x).sizes(), x.sizes());
  EXPECT_TRUE(same_bits(decoder->forward(x), decoder->forward(x, random_memory())));
}

TEST_P(DecoderTest, ClonesSavesAndLoads) {
  auto decoder = on_device(Decoder<Admin>(small_stack(2)));
  test::randomise(*decoder);
  auto copy = test::clone_of(decoder);
  auto loaded = on_device(Decoder<Admin>(small_stack(2)));
  test::save_and_load(decoder, loaded);
  const auto x = random_tokens();
  const auto memory = random_memory();

  EXPECT_TRUE(test::same_state(*copy, *decoder));
  EXPECT_TRUE(test::shares_nothing(*copy, *decoder));
  EXPECT_TRUE(same_bits(copy->forward(x, memory), decoder->forward(x, memory)));
  EXPECT_TRUE(test::same_state(*loaded, *decoder));
}

EVENKEEL_ON_EVERY_DEVICE(DecoderTest);

class DecoderPartsTest : public test::SeededTest {};

TEST_F(DecoderPartsTest, CountsThreeSublayersALayerForOmega) {
  Decoder<Admin> decoder(small_stack(18));
  const auto omega = torch::full({8}, 3.5671891321608743);  // of 54, mpmath, see omega_test.cpp
  for (auto& layer : decoder->layers) {
    EXPECT_TRUE(all_close(layer->sublayer("self_attn").residual->omega.detach(), omega));
    EXPECT_TRUE(all_close(layer->sublayer("cross_attn").residual->omega.detach(), omega));
    EXPECT_TRUE(all_close(layer->sublayer("feed_forward").residual->omega.detach(), omega));
  }
  EXPECT_EQ(decoder->layers[17]->sublayer("feed_forward").residual->options.position().index, 53);
}

TEST_F(DecoderPartsTest, CountsTwoWithoutCrossAttention) {
  Decoder<Admin> decoder(small_stack(18).cross_attention(false));
  const auto omega = torch::full({8}, 3.0408390381813574);  // of 36
  EXPECT_TRUE(
      all_close(decoder->layers[17]->sublayer("feed_forward").residual->omega.detach(), omega));
  EXPECT_TRUE(throws([&] { decoder->layers[17]->sublayer("cross_attn"); },
                     "Layer: expected one of self_attn, feed_forward, but got cross_attn"));
}

TEST_F(DecoderPartsTest, TakesTheFactorsOfItsOwnDepth) {
  Decoder<TFixup> decoder(small_stack(6).other_layers(18));
  const auto report = decoder->reset_parameters();
  for (const auto& row : report.rows()) {
    if (row.role == Role::kFeedForwardIn) {
      EXPECT_TRUE(all_close(row.draw.gain, .3688939732334405308)) << row.name;  // (9 * 6)^(-1/4)
    }
  }
}

TEST(DecoderErrorTest, NeedsAMemoryToAttendTo) {
  Decoder<Admin> decoder(small_stack(1));
  EXPECT_TRUE(throws(
      [&] {
        decoder->forward(torch::zeros({1, 2, 8}));
      },
      "Decoder: expected memory of shape [batch, length, 8], but got none; a "
      "decoder-only model says cross_attention(false)"));
}

TEST(DecoderErrorTest, NamesTheSizesItNeeds) {
  EXPECT_TRUE(throws([] { Decoder<Admin> decoder(StackOptions(1, 0, 2, 12)); },
                     "Decoder: expected embed_dim > 0, but got 0"));
}

}  // namespace
}  // namespace evenkeel::nn
