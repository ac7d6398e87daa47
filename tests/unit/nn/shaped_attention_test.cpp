// SPDX-License-Identifier: MIT
#include <evenkeel/nn/shaped_attention.hpp>

#include "all_close.hpp"
#include "anatomy_table.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "formula.hpp"
#include "gradients.hpp"
#include "mask_cases.hpp"
#include "modules.hpp"

#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/init/apply_init.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/residual/registry.hpp>
#include <evenkeel/train/decay_groups.hpp>
#include <evenkeel/train/fused_adam_options.hpp>

#include <gtest/gtest.h>
#include <torch/nn/modules/container/any.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::nn {
namespace {

using test::MaskCase;

constexpr int64_t kShapedSize = 16;
constexpr int64_t kShapedHeads = 4;
constexpr int64_t kShapedLength = MaskCase::kLength;

ShapedAttentionOptions shaped() {
  return ShapedAttentionOptions(kShapedSize, kShapedHeads);
}

std::vector<ShapedAttentionOptions> shaped_forms() {
  const auto attention = MultiHeadAttentionOptions(kShapedSize, kShapedHeads);
  return {shaped(),
          ShapedAttentionOptions(MultiHeadAttentionOptions(attention).num_kv_heads(2))
              .value(Projection::linear())
              .output(Projection::linear()),
          ShapedAttentionOptions(MultiHeadAttentionOptions(attention).bias(false))
              .value(Projection::reparam(MatrixInit::kOrthogonal))
              .output(Projection::reparam()),
          shaped()
              .alpha(Gain::fixed(0.5))
              .beta(Gain::one())
              .gamma(Gain::trained(1.0, GainShape::kScalar)),
          shaped().centred(false),
          ShapedAttentionOptions(
              MultiHeadAttentionOptions(attention).query_key_norm(InsideNorm{NormKind::kRmsNorm}))
              .soft_cap(1.5),
          shaped().identity(false)};
}

class ShapedAttentionTest : public test::DeviceTest {
 protected:
  static ShapedAttention make(const ShapedAttentionOptions& options,
                              torch::Dtype dtype = torch::kFloat64) {
    ShapedAttention attention(options);
    test::randomise(*attention);
    attention->to(device(), dtype);
    return attention;
  }

  // A as a matrix, by operators; `hidden` and `added` are undefined or broadcast to the scores.
  static torch::Tensor matrix(ShapedAttention attention,  // NOLINT(*-unnecessary-value-param)
                              const torch::Tensor& x,
                              const torch::Tensor& memory,
                              const torch::Tensor& hidden,
                              const torch::Tensor& added) {
    const auto heads = [](const torch::Tensor& projected) {
      const auto split =
          projected.view({projected.size(0), projected.size(1), -1, kShapedSize / kShapedHeads})
              .transpose(1, 2);
      return split.repeat_interleave(kShapedHeads / split.size(1), 1);
    };
    auto q = heads(attention->q_proj(x));
    auto k = heads(attention->k_proj(memory));
    if (!attention->q_norm.is_empty()) {
      q = attention->q_norm(q);
      k = attention->k_norm(k);
    }
    auto scores = q.matmul(k.transpose(-1, -2)) / std::sqrt(double(kShapedSize / kShapedHeads));
    const auto cap = attention->shape.soft_cap();
    if (cap > 0.0) scores = cap * torch::tanh(scores / cap);
    const auto softmax = [&](const torch::Tensor& of) {
      auto weights = (added.defined() ? of + added : of).exp();
      if (hidden.defined()) weights = weights.masked_fill(hidden.to(x.device()), 0.0);
      return weights / weights.sum(-1, true).clamp_min(1e-300);
    };
    const auto gain = [&](const torch::Tensor& trained) {
      return trained.defined() ? trained.to(torch::kFloat64).view({-1, 1, 1})
                               : torch::ones({1, 1, 1}, scores.options());
    };
    auto a = gain(attention->beta) * softmax(scores);
    if (attention->shape.centred()) {
      a = a - gain(attention->gamma) * softmax(torch::zeros_like(scores));
    }
    if (attention->shape.identity()) {
      a = a + gain(attention->alpha) * torch::eye(scores.size(3), scores.options());
    }
    return a;
  }

  static torch::Tensor reference(ShapedAttention attention,  // NOLINT(*-unnecessary-value-param)
                                 const torch::Tensor& x,
                                 const torch::Tensor& memory,
                                 const torch::Tensor& hidden = {},
                                 const torch::Tensor& added = {}) {
    auto v = memory;
    if (!attention->v_proj.is_empty()) v = attention->v_proj(v);
    if (!attention->v_reparam.is_empty()) v = attention->v_reparam(v);
    v = v.view({v.size(0), v.size(1), -1, kShapedSize / kShapedHeads}).transpose(1, 2);
    v = v.repeat_interleave(kShapedHeads / v.size(1), 1);
    const auto y = matrix(attention, x, memory, hidden, added).matmul(v);
    const auto joined = y.transpose(1, 2).reshape(x.sizes());
    if (!attention->out_proj.is_empty()) return attention->out_proj(joined);
    return attention->out_reparam.is_empty() ? joined : attention->out_reparam(joined);
  }

  // To 1e-12 of the largest element.
  static ::testing::AssertionResult agrees(const torch::Tensor& actual,
                                           const torch::Tensor& expected) {
    const auto largest = expected.detach().abs().max().item<double>();
    const auto difference = (actual - expected).detach().abs().max().item<double>();
    return test::all_close(difference / largest, 0.0);
  }

 private:
  // Thousands of products of a few numbers: threads would wait for each other most of the time.
  const test::ThreadsGuard one_thread_{1};
};

TEST_P(ShapedAttentionTest, EqualsTheMatrixWithEveryMask) {
  const auto x = randn({3, kShapedLength, kShapedSize}, torch::kFloat64);
  const auto added = randn({3, kShapedHeads, kShapedLength, kShapedLength}, torch::kFloat64);
  const auto shared = added.narrow(1, 0, 1).narrow(0, 0, 1);  // one for all heads and rows
  for (const auto& options : shaped_forms()) {
    auto attention = make(options);
    for (const auto& c : test::mask_cases()) {
      SCOPED_TRACE(test::printed(attention) + c.name());
      for (const auto& of_heads : {added, shared}) {
        const auto mask = c.mask(of_heads, 0, kShapedLength);
        const auto prepared = mask.prepare(kShapedLength, kShapedLength, x.options());
        const auto expected =
            reference(attention, x, x, c.hidden_table(), c.bias ? of_heads : torch::Tensor());
        EXPECT_TRUE(agrees(attention(x, mask), expected));
        EXPECT_TRUE(agrees(attention(x, prepared), expected));
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST_P(ShapedAttentionTest, InPiecesOfAnyLengthWithACacheEqualsTheWhole) {
  const auto x = randn({3, kShapedLength, kShapedSize}, torch::kFloat64);
  const auto added = randn({3, kShapedHeads, kShapedLength, kShapedLength}, torch::kFloat64);
  const std::vector<std::vector<int64_t>> splits{{3, 2, 1}, {1, 4, 1}, {2, 4}, {1, 1, 1, 1, 1, 1}};
  for (const auto& options : shaped_forms()) {
    auto attention = make(options);
    for (const auto& c : test::mask_cases()) {
      if (!c.causal && c.window == 0) continue;
      const auto whole = attention(x, c.mask(added, 0, kShapedLength));
      for (const auto& split : splits) {
        SCOPED_TRACE(test::printed(attention) + c.name() + c10::str(" split ", split));
        KeyValueCache cache;
        std::vector<torch::Tensor> pieces;
        for (const auto length : split) {
          const auto begin = cache.length();
          const auto mask = c.mask(added, begin, begin + length);
          pieces.push_back(attention->forward(
              x.narrow(1, begin, length),
              begin == 0 ? mask : mask.prepare(length, begin + length, x.options()),
              &cache));
        }
        EXPECT_TRUE(agrees(torch::cat(pieces, 1), whole));
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST_P(ShapedAttentionTest, BeginsAsTheIdentityWithEveryMask) {
  auto attention = on_device(ShapedAttention(shaped()));
  const auto x = randn({3, kShapedLength, kShapedSize});
  const auto added = randn({3, kShapedHeads, kShapedLength, kShapedLength});
  for (const auto& c : test::mask_cases()) {
    SCOPED_TRACE(c.name());
    EXPECT_TRUE(test::all_close(attention(x, c.mask(added, 0, kShapedLength)), x));
  }
}

TEST_P(ShapedAttentionTest, HasRightGradients) {
  const auto x = randn({3, kShapedLength, kShapedSize}, torch::kFloat64);
  const auto shift = randn({kShapedLength, kShapedSize}, torch::kFloat64).requires_grad_();
  const auto added = randn({kShapedLength, kShapedLength}, torch::kFloat64).requires_grad_();
  const auto padding = MaskCase{true, 0, -1}.mask(x, 0, kShapedLength);  // row 2 sees nothing
  for (const auto& options : shaped_forms()) {
    auto attention = make(options);
    SCOPED_TRACE(test::printed(attention));
    {
      const torch::NoGradGuard no_grad;
      for (auto& parameter : attention->parameters()) parameter.mul_(0.3);
    }
    std::vector<torch::Tensor> inputs{shift};
    for (const auto& parameter : attention->parameters()) {
      if (parameter.dim() == 1) inputs.push_back(parameter);  // gains, biases, norms
    }
    for (const auto& mask : {AttentionMask(), AttentionMask::causal(), padding}) {
      EXPECT_TRUE(test::gradients_are_right([&] { return attention(x + shift, mask); }, inputs));
    }
    inputs.push_back(added);
    const auto mask = padding & AttentionMask::from_tensor(added);
    EXPECT_TRUE(test::gradients_are_right([&] { return attention(x + shift, mask); }, inputs));
  }
}

TEST_P(ShapedAttentionTest, GivesItsMatricesTheGradientsOfTheMatrix) {
  const auto x = randn({3, kShapedLength, kShapedSize}, torch::kFloat64);
  const auto y_grad = randn({3, kShapedLength, kShapedSize}, torch::kFloat64);
  const MaskCase c{true, 0, 1};
  for (const auto& options : shaped_forms()) {
    auto attention = make(options);
    SCOPED_TRACE(test::printed(attention));
    const auto parameters = attention->parameters();
    const auto ours =
        torch::autograd::grad({attention(x, c.mask(x, 0, kShapedLength))}, parameters, {y_grad});
    const auto theirs =
        torch::autograd::grad({reference(attention, x, x, c.hidden_table())}, parameters, {y_grad});
    for (size_t i = 0; i < parameters.size(); ++i) EXPECT_TRUE(test::all_close(ours[i], theirs[i]));
  }
}

// A matrix of these lengths would take 64 GiB.
TEST_P(ShapedAttentionTest, TakesAMeanWithoutAMatrix) {
  constexpr int64_t kMany = 1 << 17;
  const auto v = torch::ones({1, 1, kMany, 1}, options());
  auto padding = torch::zeros({1, kMany}, options(torch::kBool));
  padding.narrow(1, 0, 3).fill_(true);
  for (const auto& mask : {AttentionMask::causal(), AttentionMask()}) {
    const auto means = detail::masked_mean(v, mask & AttentionMask::padding(padding), kMany, 1);
    const bool causal = !mask.empty();
    EXPECT_EQ(means.size(2), causal ? kMany : 1);
    EXPECT_EQ(means.eq(0.0).sum().item<int64_t>(), causal ? 3 : 0);
    EXPECT_EQ(means.eq(1.0).sum().item<int64_t>(), causal ? kMany - 3 : 1);
  }
}

TEST_P(ShapedAttentionTest, SumsTheMeanOfHalfTypesInFloat32) {
  const auto v = torch::rand({1, 2, 4096, 4}, options());
  for (const auto dtype : {torch::kBFloat16, torch::kHalf}) {
    const auto half = v.to(dtype);
    const auto exact =
        detail::masked_mean(half.to(torch::kFloat64), AttentionMask::causal(), 4096, 2);
    const auto means = detail::masked_mean(half, AttentionMask::causal(), 4096, 2);
    EXPECT_TRUE(test::all_close(means, exact.to(dtype)));
  }
}

TEST_P(ShapedAttentionTest, ShowsAnObserverItsMatrixAndComputesTheSame) {
  const auto x = randn({3, kShapedLength, kShapedSize}, torch::kFloat64);
  for (const auto& options : shaped_forms()) {
    auto attention = make(options);
    for (const auto& c : {MaskCase{}, MaskCase{true, 0, -1}, MaskCase{true, 3, 1, true}}) {
      SCOPED_TRACE(test::printed(attention) + c.name());
      const auto mask = c.mask(x, 0, kShapedLength);
      const auto unwatched = attention(x, mask);
      torch::Tensor weights;
      torch::Tensor watched;
      {
        const Observer observer(nullptr, [&](const AttentionEvent& event) {
          EXPECT_EQ(&event.attention, attention.get());
          weights = event.weights;
        });
        watched = attention(x, mask);
      }
      EXPECT_TRUE(test::same_bits(watched, unwatched));
      ASSERT_TRUE(weights.defined());
      EXPECT_TRUE(agrees(weights, matrix(attention, x, x, c.hidden_table(), {})));
    }
  }
}

TEST_P(ShapedAttentionTest, OfAMemoryHasNoIdentityAndBeginsAsZero) {
  const auto x = randn({3, kShapedLength, kShapedSize}, torch::kFloat64);
  const auto memory = randn({3, 4, kShapedSize}, torch::kFloat64);
  const auto padding =
      torch::tensor({{0, 0, 0, 0}, {1, 0, 0, 1}, {0, 0, 0, 1}}).to(torch::kBool).to(device());
  const auto mask = AttentionMask::padding(padding);
  auto attention = make(shaped().identity(false));
  const auto expected = reference(attention, x, memory, padding.unsqueeze(1).unsqueeze(1));

  KeyValueCache cache;
  EXPECT_TRUE(agrees(attention->cross_attention(x, memory, mask, &cache), expected));
  for (int64_t t = 0; t < kShapedLength; ++t) {
    EXPECT_TRUE(agrees(attention->cross_attention(x.narrow(1, t, 1), {}, mask, &cache),
                       expected.narrow(1, t, 1)));
  }

  attention->reset_parameters();
  const auto y = attention->cross_attention(x, memory, mask);
  EXPECT_TRUE(test::all_close(y, torch::zeros_like(y)));
  y.mul(x).sum().backward();
  EXPECT_GT(attention->q_proj->weight.grad().abs().max().item<double>(), 0.0);  // and it learns
}

// Before, a cache without a value projection held a view of x.
TEST_P(ShapedAttentionTest, KeepsValuesOfItsOwnInTheCache) {
  auto attention = make(shaped().identity(false));
  const auto x = randn({3, kShapedLength, kShapedSize}, torch::kFloat64);
  KeyValueCache of_itself;
  KeyValueCache of_memory;
  attention->forward(x, AttentionMask::causal(), &of_itself);
  attention->cross_attention(x, x, {}, &of_memory);
  const auto values = of_itself.value.clone();
  x.zero_();
  EXPECT_TRUE(test::same_bits(of_itself.value, values));
  EXPECT_TRUE(test::same_bits(of_memory.value, values));
}

TEST_P(ShapedAttentionTest, DropsWeightsOfTheSoftmaxWhileTrainingOnly) {
  for (const double cap : {0.0, 30.0}) {
    auto attention = make(
        ShapedAttentionOptions(MultiHeadAttentionOptions(kShapedSize, kShapedHeads).dropout(0.5))
            .soft_cap(cap));
    const auto x = randn({3, kShapedLength, kShapedSize}, torch::kFloat64);
    EXPECT_FALSE(test::all_close(attention(x), attention(x)));
    attention->eval();
    EXPECT_TRUE(agrees(attention(x), reference(attention, x, x)));
  }
}

TEST_P(ShapedAttentionTest, ClonesSavesAndLoadsUnderItsNames) {
  const std::vector<std::string> query_key{"q_proj.weight",
                                           "q_proj.bias",
                                           "k_proj.weight",
                                           "k_proj.bias"};
  const auto with = [](std::vector<std::string> a, const std::vector<std::string>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  const std::vector<std::vector<std::string>> names{
      with({"alpha", "beta", "gamma"}, with(query_key, {"buffers"})),
      with({"alpha", "beta", "gamma"},
           with(query_key,
                {"v_proj.weight", "v_proj.bias", "out_proj.weight", "out_proj.bias", "buffers"})),
      {"alpha",
       "beta",
       "gamma",
       "q_proj.weight",
       "k_proj.weight",
       "v_proj.weight",
       "v_proj.skip_gain",
       "v_proj.resid_gain",
       "out_proj.weight",
       "out_proj.skip_gain",
       "out_proj.resid_gain",
       "buffers",
       "v_proj.init_weight"},
      with({"gamma"}, with(query_key, {"buffers", "alpha"})),
      with({"alpha", "beta"}, with(query_key, {"buffers"})),
      with({"alpha", "beta", "gamma"},
           with(query_key, {"q_norm.weight", "k_norm.weight", "buffers"})),
      with({"beta", "gamma"}, with(query_key, {"buffers"}))};
  for (size_t i = 0; i < names.size(); ++i) {
    auto attention = make(shaped_forms()[i]);
    SCOPED_TRACE(test::printed(attention));
    auto copy = test::clone_of(attention);
    auto loaded = make(shaped_forms()[i]);
    test::save_and_load(attention, loaded);
    const auto x = randn({2, 3, kShapedSize}, torch::kFloat64);

    EXPECT_EQ(test::state_names(*attention), names[i]);
    EXPECT_TRUE(test::shares_nothing(*copy, *attention));
    EXPECT_TRUE(test::same_state(*copy, *attention));
    EXPECT_TRUE(test::same_bits(copy(x), attention(x)));
    EXPECT_TRUE(test::same_bits(loaded(x), attention(x)));
  }
}

TEST_P(ShapedAttentionTest, IsReinitialisedWhole) {
  for (const auto& options : shaped_forms()) {
    auto attention = make(options);
    SCOPED_TRACE(test::printed(attention));
    attention->reset_parameters();
    const auto x = randn({2, 3, kShapedSize}, torch::kFloat64);
    EXPECT_EQ(attention->q_proj->weight.count_nonzero().item<int64_t>(), 0);
    EXPECT_GT(attention->k_proj->weight.count_nonzero().item<int64_t>(), 0);
    if (attention->beta.defined()) {
      EXPECT_TRUE(test::same_bits(attention->beta, torch::ones_like(attention->beta)));
    }
    EXPECT_TRUE(agrees(attention(x), reference(attention, x, x)) ||
                test::all_close(attention(x), torch::zeros_like(x)));
  }
  ShapedAttention drawn(shaped().zero_query(false));
  EXPECT_GT(drawn->q_proj->weight.count_nonzero().item<int64_t>(), 0);
}

TEST_P(ShapedAttentionTest, IsOneOfTorchsAnyModules) {
  auto attention = make(shaped());
  const auto x = randn({2, 3, kShapedSize}, torch::kFloat64);
  torch::nn::AnyModule any(attention);
  EXPECT_TRUE(test::same_bits(any.forward(x, AttentionMask::causal()),
                              attention(x, AttentionMask::causal())));
}

EVENKEEL_ON_EVERY_DEVICE(ShapedAttentionTest);

class ShapedAttentionFormTest : public test::SeededTest {};

TEST_F(ShapedAttentionFormTest, TellsTheRolesOfWhatItHas) {
  ShapedAttention plain(ShapedAttentionOptions(MultiHeadAttentionOptions(4, 2).bias(false)));
  EXPECT_EQ(test::parameters_of(anatomy_of(plain)),
            (test::Lines{"alpha: gain, encoder 0",
                         "beta: gain, encoder 0",
                         "gamma: gain, encoder 0",
                         "q_proj.weight: query, encoder 0",
                         "k_proj.weight: key, encoder 0"}));
  ShapedAttention whole(ShapedAttentionOptions(MultiHeadAttentionOptions(4, 2).query_key_norm(
                                                   InsideNorm{NormKind::kRmsNorm}))
                            .alpha(Gain::one())
                            .beta(Gain::fixed(1.0))
                            .centred(false)
                            .value(Projection::linear())
                            .output(Projection::reparam()));
  const auto anatomy = anatomy_of(whole);
  EXPECT_EQ(test::parameters_of(anatomy),
            (test::Lines{"q_proj.weight: query, encoder 0",
                         "q_proj.bias: bias, encoder 0",
                         "k_proj.weight: key, encoder 0",
                         "k_proj.bias: bias, encoder 0",
                         "v_proj.weight: value, encoder 0",
                         "v_proj.bias: bias, encoder 0",
                         "q_norm.weight: norm, encoder 0",
                         "k_norm.weight: norm, encoder 0",
                         "out_proj.weight: attention output, encoder 0",
                         "out_proj.bias: bias, encoder 0",
                         "out_proj.skip_gain: gain, encoder 0",
                         "out_proj.resid_gain: gain, encoder 0"}));
  ASSERT_EQ(anatomy.sublayers.size(), 1U);
  EXPECT_EQ(anatomy.sublayers[0].kind, SublayerKind::kSelfAttention);
  EXPECT_EQ(anatomy.sublayers[0].reads.size(), 3U);
  EXPECT_EQ(anatomy.sublayers[0].writes.size(), 1U);
  EXPECT_EQ(anatomy.sublayers[0].gains.size(), 3U);  // beta is a buffer
}

// The scheme draws every other matrix, here and in a stack that is re-initialised.
TEST_F(ShapedAttentionFormTest, KeepsTheValuesThatItBeginsWithInEveryInit) {
  const auto scheme = find_scheme("deepnorm");
  std::vector<Layer> layers;
  std::vector<ShapedAttention> attentions;
  for (int64_t i = 0; i < 2; ++i) {
    attentions.emplace_back(ShapedAttentionOptions(8, 2)
                                .value(Projection::linear())
                                .output(Projection::reparam(MatrixInit::kOrthogonal)));
    const ResidualOptions residual(Position::encoder_only(2, i, 0, {SublayerKind::kSelfAttention}),
                                   8);
    layers.emplace_back(std::vector<Sublayer>{{"self_attn",
                                               SublayerKind::kSelfAttention,
                                               attentions.back(),
                                               Residual<>(scheme, residual)}});
  }
  Encoder<> encoder(scheme, StackOptions(2, 8, 2, 16), layers);
  for (int round = 0; round < 2; ++round) {
    for (auto& attention : attentions) {
      EXPECT_EQ(attention->q_proj->weight.count_nonzero().item<int64_t>(), 0);
      EXPECT_EQ(attention->out_reparam->weight.count_nonzero().item<int64_t>(), 0);
      EXPECT_EQ(attention->k_proj->weight.count_nonzero().item<int64_t>(), 64);
      EXPECT_EQ(attention->v_proj->weight.count_nonzero().item<int64_t>(), 64);
    }
    test::randomise(*encoder);
    encoder->reset_parameters();
  }
  const auto report = apply_init(anatomy_of<Layer>(*encoder, Stack::kEncoder), scheme.draw);
  for (const auto& row : report.rows()) {
    if (row.role == Role::kQuery) {
      EXPECT_EQ(row.draw, Draw::keep()) << row.name;
    }
    if (row.role == Role::kValue) {
      EXPECT_NE(row.draw, Draw::keep()) << row.name;
    }
  }
}

TEST_F(ShapedAttentionFormTest, ItsGainsDoNotDecay) {
  const ShapedAttention attention(
      ShapedAttentionOptions(8, 2).value(Projection::reparam()).output(Projection::linear()));
  const auto groups =
      train::decay_groups(*attention, train::FusedAdamOptions(1e-3).weight_decay(0.1));
  EXPECT_EQ(groups[0].params().size(), 4U);  // query, key, value, output
  EXPECT_EQ(groups[1].params().size(), 3U + 2U + 4U);
}

TEST_F(ShapedAttentionFormTest, PrintsItsOptions) {
  const ShapedAttention attention(
      ShapedAttentionOptions(
          MultiHeadAttentionOptions(4, 2).num_kv_heads(1).bias(false).dropout(0.1))
          .value(Projection::linear())
          .centred(false)
          .identity(false)
          .zero_query(false)
          .soft_cap(30.0));
  EXPECT_NE(test::printed(attention).find(
                "evenkeel::nn::ShapedAttention(embed_dim=4, num_heads=2, num_kv_heads=1, "
                "value=linear, output=identity, identity=false, centred=false, zero_query=false, "
                "soft_cap=30, bias=false, dropout=0.1)"),
            std::string::npos);
}

TEST_F(ShapedAttentionFormTest, NamesWhatItNeeds) {
  const auto construct = [](const ShapedAttentionOptions& options) {
    return [options] { ShapedAttention attention(options); };
  };
  EXPECT_TRUE(test::throws(construct(shaped().soft_cap(-1.0)),
                           "ShapedAttention: expected soft_cap > 0, or 0 for none, but got -1"));
  EXPECT_TRUE(test::throws(
      construct(ShapedAttentionOptions(MultiHeadAttentionOptions(8, 4).num_kv_heads(2))),
      "ShapedAttention: expected as many key and value heads as num_heads, 4, for an identity "
      "value, but got 2; pass value(Projection::linear())"));
  EXPECT_TRUE(test::throws(construct(shaped().beta(Gain::ramp(1.0, 10))),
                           "ShapedAttention: expected gains that do not follow the training step, "
                           "but got a ramp"));
  ShapedAttention attention(shaped());
  const auto x = torch::randn({1, 2, kShapedSize});
  EXPECT_TRUE(test::throws([&] { attention->cross_attention(x, x); },
                           "ShapedAttention: expected options with identity(false) for "
                           "cross-attention, where a query has no key of its own, but got "
                           "identity(true)"));
  // What every attention checks, in its own name.
  EXPECT_TRUE(test::throws(construct(ShapedAttentionOptions(8, 3)),
                           "ShapedAttention: expected embed_dim to be a multiple of num_heads"));
  EXPECT_TRUE(
      test::throws(construct(ShapedAttentionOptions(MultiHeadAttentionOptions(8, 4).dropout(1.0))),
                   "ShapedAttention: expected dropout in [0, 1), but got 1"));
  EXPECT_TRUE(test::throws(
      [&] {
        attention(torch::randn({1, 2, 8}));
      },
      "ShapedAttention: expected x of shape [batch, length, 16], but got "
      "[1, 2, 8]"));
  KeyValueCache cache;
  attention->forward(x, AttentionMask::causal(), &cache);
  EXPECT_TRUE(test::throws(
      [&] {
        attention->forward(torch::randn({3, 1, kShapedSize}), AttentionMask::causal(), &cache);
      },
      "ShapedAttention: expected cached keys and values to be Float of shape [3, 4, length, 4]"));
}

}  // namespace
}  // namespace evenkeel::nn
