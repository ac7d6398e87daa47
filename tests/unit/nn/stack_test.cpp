// SPDX-License-Identifier: MIT
// What every stack can be made of: other norms, other lists of sub-layers, blocks of one's own.
#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/encoder.hpp>

#include <evenkeel/residual/observer.hpp>
#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "modules.hpp"
#include "stacks.hpp"

#include <gtest/gtest.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel {
namespace {

// A branch of a user's own, without attention or feed-forward.
class MixerImpl : public torch::nn::Cloneable<MixerImpl> {
 public:
  explicit MixerImpl(int64_t embed_dim) : embed_dim_(embed_dim) { reset(); }
  void reset() override { fc = register_module("fc", torch::nn::Linear(embed_dim_, embed_dim_)); }
  torch::Tensor forward(const torch::Tensor& x) { return fc(x.roll(1, 1)); }
  torch::nn::Linear fc{nullptr};

 private:
  int64_t embed_dim_;
};
TORCH_MODULE(Mixer);

// Post-LN in the first layer, Pre-LN in the rest, as Mix-LN has it.
struct Mixed {
  static Norms norms(const Position& position) {
    return position.layer == 0 ? Norms::at_sum() : Norms::at_input();
  }
};

// Norms around and inside every branch, with a gain on their output.
struct Everywhere {
  static Norms norms(const Position&) { return Norms::at_input().and_inside().and_branch(); }
  static double norm_gain(const Position&) { return 0.5; }
};

// Draws that depend on layer, kind and role.
struct ByLayer {
  static Norms norms(const Position&) { return Norms::at_input(); }
  static Draw draw(Role role, const Position& position) {
    if (role != Role::kFeedForwardIn) return plain_draw(role);
    return position.kind == SublayerKind::kFeedForward && position.layer == 1 ? Draw::zero()
                                                                              : plain_draw(role);
  }
};

}  // namespace

template <>
struct AnatomyOf<Mixer> {
  static void describe(MixerImpl& mixer, SublayerBuilder& sublayer) {
    sublayer.input(mixer.fc);  // reads the stream and writes to it: one role is enough here
  }
};

namespace nn {
namespace {

using test::all_close;
using test::same_bits;
using test::small_stack;
using test::throws;

class StackTest : public test::DeviceTest {
 protected:
  static torch::Tensor x() { return randn({2, 5, 8}); }

  template <typename Stack>
  static void expect_clones(Stack& stack, const torch::Tensor& input) {
    auto copy = test::clone_of(stack);
    EXPECT_TRUE(test::same_state(*copy, *stack));
    EXPECT_TRUE(test::shares_nothing(*copy, *stack));
    EXPECT_TRUE(same_bits(copy->forward(input), stack->forward(input)));
  }
};

TEST_P(StackTest, OfEverySchemeAndNormHasFiniteGradients) {
  for (const auto& scheme : schemes()) {
    for (const auto norm : {NormKind::kLayerNorm,
                            NormKind::kRmsNorm,
                            NormKind::kDyT,
                            NormKind::kScaleNorm,
                            NormKind::kNone}) {
      SCOPED_TRACE(scheme.title + " " + to_string(norm));
      auto encoder = on_device(Encoder<>(scheme, small_stack(2).norm(norm)));
      encoder->forward(x()).square().sum().backward();
      for (const auto& parameter : encoder->named_parameters()) {
        EXPECT_TRUE(parameter.value().grad().defined()) << parameter.key();
        EXPECT_TRUE(parameter.value().grad().isfinite().all().item<bool>()) << parameter.key();
      }
    }
  }
}

TEST_P(StackTest, OfEveryActivationWithAndWithoutBiasHasRightGradients) {
  for (const auto activation :
       {Activation::kReLU, Activation::kGELU, Activation::kSwiGLU, Activation::kLeakyReLU}) {
    for (const bool bias : {true, false}) {
      SCOPED_TRACE(torch::str(to_string(activation), bias ? " with bias" : ""));
      Encoder<> encoder(find_scheme("pre"),
                        StackOptions(1, 4, 2, 6).activation(activation).bias(bias));
      encoder->to(device(), torch::kFloat64);
      test::randomise(*encoder);
      const auto input = randn({1, 3, 4}, torch::kFloat64);
      EXPECT_TRUE(test::gradients_are_right([&] { return encoder(input); }, encoder->parameters()));
    }
  }
}

TEST_P(StackTest, HasLeakyReluOfTheSlopeThatItsOptionsSay) {
  const auto options =
      StackOptions(1, 4, 2, 6).activation(Activation::kLeakyReLU).negative_slope(0.5);
  Encoder<> encoder(find_scheme("pre"), StackOptions(1, 4, 2, 6).layer_options(options));
  auto branch = encoder->layers[0]->sublayer("feed_forward").branch.as<nn::FeedForward>();
  EXPECT_EQ(branch->options.negative_slope(), 0.5);
  const auto x = torch::randn({3, 4});
  const auto h = branch->fc1(x);
  EXPECT_TRUE(all_close(branch(x), branch->fc2(torch::where(h >= 0, h, 0.5 * h))));
}

TEST_P(StackTest, WithGroupedHeadsStepsAsInOneGo) {
  auto decoder =
      on_device(Decoder<>(find_scheme("admin"),
                          StackOptions(2, 8, 4, 12).num_kv_heads(2).cross_attention(false)));
  const auto input = x();
  DecoderCache cache;
  const auto first = decoder->forward(input.narrow(1, 0, 3), {}, {}, &cache);
  const auto rest = decoder->forward(input.narrow(1, 3, 2), {}, {}, &cache);
  EXPECT_TRUE(all_close(torch::cat({first, rest}, 1), decoder->forward(input)));
  EXPECT_EQ(cache.layers[0][0].key.sizes(), (std::vector<int64_t>{2, 2, 5, 2}));
}

TEST_P(StackTest, HasNormsThatDifferByLayer) {
  auto encoder = on_device(Encoder<Mixed>(small_stack(3)));
  EXPECT_EQ(encoder->layers[0]->sublayer("self_attn").residual->norms(), Norms::at_sum());
  EXPECT_EQ(encoder->layers[1]->sublayer("self_attn").residual->norms(), Norms::at_input());
  EXPECT_FALSE(encoder->end->norm.is_empty());  // the last sub-layer leaves its sum open
  const auto input = x();
  auto y = input;
  for (auto& layer : encoder->layers) y = layer->forward(y);
  EXPECT_TRUE(all_close(encoder(input), encoder->end->norm(y)));
  expect_clones(encoder, input);
}

TEST_P(StackTest, HasNormsInsideItsBranches) {
  Encoder<Everywhere> encoder(StackOptions(1, 4, 2, 6));
  encoder->to(device(), torch::kFloat64);
  test::randomise(*encoder);
  const auto names = test::state_names(*encoder);
  const auto has = [&](const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  EXPECT_TRUE(has("layer_0.self_attn.inside_norm.weight"));
  EXPECT_TRUE(has("layer_0.feed_forward.inside_norm.weight"));
  EXPECT_TRUE(has("layer_0.self_attn_residual.norm.weight"));
  EXPECT_TRUE(has("layer_0.self_attn_residual.branch_norm.weight"));
  const auto input = randn({1, 3, 4}, torch::kFloat64);
  EXPECT_TRUE(test::gradients_are_right([&] { return encoder(input); }, encoder->parameters()));

  // The feed-forward's, written out.
  auto feed_forward = encoder->layers[0]->sublayer("feed_forward").branch.as<FeedForward>();
  auto norm = feed_forward->inside_norm.as<torch::nn::LayerNorm>();
  const auto inner = torch::relu(feed_forward->fc1(input));
  EXPECT_TRUE(all_close(feed_forward(input), feed_forward->fc2(0.5 * norm(inner))));
}

TEST_P(StackTest, DrawsByLayerAndKind) {
  auto encoder = on_device(Encoder<ByLayer>(small_stack(3)));
  for (size_t i = 0; i < 3; ++i) {
    const auto feed_forward = encoder->layers[i]->sublayer("feed_forward").branch.as<FeedForward>();
    EXPECT_EQ(feed_forward->fc1->weight.eq(0).all().item<bool>(), i == 1) << i;
  }
}

TEST_P(StackTest, MayBeASandwich) {
  constexpr auto kAttention = SublayerKind::kSelfAttention;
  constexpr auto kFeedForward = SublayerKind::kFeedForward;
  auto encoder =
      on_device(Encoder<>(find_scheme("admin"),
                          small_stack(2).sublayers({kFeedForward, kAttention, kFeedForward})));
  const auto omega = torch::full({8}, omega_init(6), options());
  EXPECT_EQ(encoder->layers[1]->sublayers.size(), 3U);
  EXPECT_EQ(encoder->layers[1]->sublayers[2].name, "feed_forward_2");
  EXPECT_EQ(encoder->layers[1]->sublayers[2].residual->options.position().index, 5);
  EXPECT_EQ(encoder->layers[1]->sublayers[2].residual->options.position().layer, 1);
  EXPECT_TRUE(all_close(encoder->layers[0]->sublayers[0].residual->omega.detach(), omega));
  expect_clones(encoder, x());
}

TEST_P(StackTest, MayBeMadeOfBlocksOfAUsersOwn) {
  const auto options = small_stack(2);
  std::vector<Layer> layers;
  for (int64_t i = 0; i < 2; ++i) {
    auto position = Position::of(2);
    position.index = position.layer = i;
    position.encoder_layers = 2;
    layers.emplace_back(std::vector<Sublayer>{{"mixer",
                                               SublayerKind::kOther,
                                               Mixer(8),
                                               Residual<PreNorm>(ResidualOptions(position, 8))}});
  }
  auto encoder = on_device(Encoder<>(find_scheme("pre"), options, layers));
  EXPECT_FALSE(encoder->end->norm.is_empty());
  const auto input = x();
  auto y = input;
  for (auto& layer : encoder->layers) {
    auto& part = layer->sublayer("mixer");
    y = y + part.branch.as<Mixer>()->forward(part.residual->input_norm(y));
  }
  EXPECT_TRUE(all_close(encoder(input), encoder->end->norm(y)));
  expect_clones(encoder, input);
}

TEST_P(StackTest, ResetsEverything) {
  auto encoder = on_device(Encoder<Admin>(small_stack(2)));
  test::randomise(*encoder);
  encoder->reset_parameters();
  for (const auto& parameter : encoder->named_parameters()) {
    const auto& name = parameter.key();
    const auto ends_with = [&](const std::string& end) {
      return name.size() >= end.size() && name.substr(name.size() - end.size()) == end;
    };
    const auto value = parameter.value().detach();
    if (ends_with("omega")) {
      EXPECT_TRUE(all_close(value, torch::full_like(value, omega_init(4)))) << name;
    } else if (ends_with("norm.weight")) {
      EXPECT_TRUE(same_bits(value, torch::ones_like(value))) << name;
    } else if (ends_with("bias")) {
      EXPECT_TRUE(same_bits(value, torch::zeros_like(value))) << name;
    }
  }
}

TEST_P(StackTest, KeepsItsCacheWhenSomethingThrows) {
  auto decoder = on_device(Decoder<>(find_scheme("admin"), small_stack(2).cross_attention(false)));
  const auto input = x();
  DecoderCache cache;
  decoder->forward(input.narrow(1, 0, 3), {}, {}, &cache);
  EXPECT_ANY_THROW(decoder->forward(randn({3, 1, 8}), {}, {}, &cache));  // another batch size
  EXPECT_ANY_THROW(
      decoder->forward(input.narrow(1, 3, 2),
                       {},
                       {},
                       &cache,
                       AttentionMask::from_tensor(torch::zeros({2, 2}, options(torch::kBool)))));
  EXPECT_EQ(cache.length, 3);
  EXPECT_TRUE(all_close(decoder->forward(input.narrow(1, 3, 2), {}, {}, &cache),
                        decoder->forward(input).narrow(1, 3, 2)));
}

// What a stack gives of which only these layers run.
torch::Tensor run_of(EncoderImpl& encoder, torch::Tensor x, const std::vector<bool>& runs) {
  ResidualStream stream = std::move(x);
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs[i]) stream = encoder.layers[i]->forward_stream(std::move(stream));
  }
  return encoder.end(std::move(stream));
}

TEST_P(StackTest, SkipsWholeLayersInTrainingModeAlone) {
  constexpr double kLayerdrop = 0.5;
  for (const auto& scheme : schemes()) {
    SCOPED_TRACE(scheme.title);
    auto encoder = on_device(Encoder<>(scheme, small_stack(4).layerdrop(kLayerdrop)));
    const auto input = x();
    const auto whole = run_of(*encoder, input, {true, true, true, true});
    size_t most = 0;
    size_t least = 4;
    for (uint64_t seed = 0; seed < 20; ++seed) {
      torch::manual_seed(seed);
      std::vector<bool> runs;
      for (int i = 0; i < 4; ++i) {
        runs.push_back(torch::rand({}, torch::kFloat64).item<double>() >= kLayerdrop);
      }
      torch::manual_seed(seed);
      EXPECT_TRUE(same_bits(encoder(input), run_of(*encoder, input, runs)));
      const auto count = static_cast<size_t>(std::count(runs.begin(), runs.end(), true));
      most = std::max(most, count);
      least = std::min(least, count);
    }
    EXPECT_LT(least, most);
    {
      int64_t seen = 0;
      const Observer watch([&](const SublayerEvent&) { ++seen; });
      EXPECT_TRUE(all_close(encoder(input), whole));
      EXPECT_EQ(seen, 8);
    }
    encoder->eval();
    EXPECT_TRUE(same_bits(encoder(input), whole));
  }
}

TEST_P(StackTest, GivesNoGradientToLayersThatItSkips) {
  auto encoder = on_device(Encoder<>(find_scheme("admin"), small_stack(6).layerdrop(0.5)));
  const auto input = x();
  torch::manual_seed(1);
  std::vector<bool> runs;
  for (int i = 0; i < 6; ++i) {
    runs.push_back(torch::rand({}, torch::kFloat64).item<double>() >= 0.5);
  }
  EXPECT_EQ(std::set<bool>(runs.begin(), runs.end()).size(), 2U);
  torch::manual_seed(1);
  encoder(input).square().sum().backward();
  for (size_t i = 0; i < runs.size(); ++i) {
    for (const auto& parameter : encoder->layers[i]->named_parameters()) {
      EXPECT_EQ(parameter->grad().defined(), runs[i]) << i << " " << parameter.key();
    }
  }
}

TEST_P(StackTest, SkipsNoLayersWhereACacheHasThemAll) {
  auto decoder = on_device(
      Decoder<>(find_scheme("admin"), small_stack(4).cross_attention(false).layerdrop(0.9)));
  const auto input = x();
  DecoderCache cache;
  const auto y = decoder->forward(input, {}, {}, &cache);
  decoder->eval();
  EXPECT_TRUE(all_close(y, decoder->forward(input)));
}

EVENKEEL_ON_EVERY_DEVICE(StackTest);

TEST(StackErrorTest, SaysWhatAStackMakes) {
  EXPECT_TRUE(throws(
      [] {
        Encoder<> encoder(find_scheme("pre"), small_stack(1).sublayers({SublayerKind::kOther}));
      },
      "a stack makes attention and feed-forward; for a block of your own, pass the layers"));
  EXPECT_TRUE(
      throws([] { Encoder<> encoder(find_scheme("pre"), small_stack(2), std::vector<Layer>()); },
             "Encoder: expected as many layers as num_layers, 2, but got 0"));
  EXPECT_TRUE(throws([] { Encoder<> encoder(find_scheme("pre"), small_stack(2).layerdrop(1.0)); },
                     "Encoder: expected layerdrop in [0, 1), but got 1"));
}

}  // namespace
}  // namespace nn
}  // namespace evenkeel
