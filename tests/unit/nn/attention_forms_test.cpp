// SPDX-License-Identifier: MIT
// Every form of attention against operators, in float64: projections, masks, caches.
#include <evenkeel/nn/attention.hpp>

#include "all_close.hpp"
#include "anatomy_table.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "mask_cases.hpp"
#include "modules.hpp"

#include <evenkeel/anatomy/torch_nn.hpp>

#include <gtest/gtest.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace evenkeel::nn {
namespace {

using test::all_close;
using test::mask_cases;
using test::MaskCase;
using test::same_bits;
using test::throws;

using AttentionOptions = MultiHeadAttentionOptions;

constexpr int64_t kSize = 16;
constexpr int64_t kLength = MaskCase::kLength;

std::vector<AttentionOptions> forms() {
  return {AttentionOptions(kSize, 4),
          AttentionOptions(kSize, 4).bias(false),
          AttentionOptions(kSize, 4).packed(false),
          AttentionOptions(kSize, 4).num_kv_heads(2),
          AttentionOptions(kSize, 4).num_kv_heads(1).packed(false).bias(false)};
}

class AttentionFormsTest : public test::DeviceTest {
 protected:
  static MultiHeadAttention make(const AttentionOptions& options,
                                 torch::Dtype dtype = torch::kFloat64) {
    MultiHeadAttention attention(options);
    test::randomise(*attention);
    attention->to(device(), dtype);
    return attention;
  }

  // Attention by operators; `hidden` and `added` are undefined or broadcast to the scores.
  static torch::Tensor reference(MultiHeadAttention attention,  // NOLINT(*-unnecessary-value-param)
                                 const torch::Tensor& x,
                                 const torch::Tensor& memory,
                                 const torch::Tensor& hidden = {},
                                 const torch::Tensor& added = {}) {
    const auto& options = attention->options;
    const auto size = options.head_dim();
    const auto kv = options.kv_dim();
    const auto project = [&](const torch::Tensor& input, int64_t part) {
      torch::Tensor weight;
      torch::Tensor bias;
      if (options.packed()) {
        weight = attention->in_proj_weight.split_with_sizes({kSize, kv, kv})[part];
        if (options.bias()) {
          bias = attention->in_proj_bias.split_with_sizes({kSize, kv, kv})[part];
        }
      } else {
        const auto& linear = part == 0   ? attention->q_proj
                             : part == 1 ? attention->k_proj
                                         : attention->v_proj;
        weight = linear->weight;
        bias = linear->bias;
      }
      auto y = input.matmul(weight.t());
      if (bias.defined()) y = y + bias;
      y = y.view({y.size(0), y.size(1), -1, size}).transpose(1, 2);
      return y.repeat_interleave(options.num_heads() / y.size(1), 1);
    };
    auto weights =
        project(x, 0).matmul(project(memory, 1).transpose(-1, -2)) / std::sqrt(double(size));
    if (added.defined()) weights = weights + added;
    weights = weights.exp();
    if (hidden.defined()) weights = weights.masked_fill(hidden.to(x.device()), 0.0);
    weights = weights / weights.sum(-1, true).clamp_min(1e-300);
    const auto y = weights.matmul(project(memory, 2)).transpose(1, 2);
    return attention->out_proj(y.reshape(x.sizes()));
  }

 private:
  // Thousands of products of a few numbers: threads would wait for each other most of the time.
  const test::ThreadsGuard one_thread_{1};
};

TEST_P(AttentionFormsTest, EqualsOperatorsWithEveryMask) {
  const auto x = randn({3, kLength, kSize}, torch::kFloat64);
  const auto memory = randn({3, kLength, kSize}, torch::kFloat64);
  const auto added = randn({3, 4, kLength, kLength}, torch::kFloat64);
  for (const auto& options : forms()) {
    auto attention = make(options);
    for (const auto& c : mask_cases()) {
      SCOPED_TRACE(test::printed(attention) + c.name());
      const auto bias = c.bias ? added : torch::Tensor();
      const auto mask = c.mask(added, 0, kLength);
      const auto prepared = mask.prepare(kLength, kLength, x.options());
      const auto expected = reference(attention, x, x, c.hidden_table(), bias);
      EXPECT_TRUE(all_close(attention(x, mask), expected));
      EXPECT_TRUE(all_close(attention(x, prepared), expected));
      EXPECT_TRUE(all_close(attention->cross_attention(x, memory, mask),
                            reference(attention, x, memory, c.hidden_table(), bias)));
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// Before: two tokens after three cached ones threw, and the cache then held five keys.
TEST_P(AttentionFormsTest, InPiecesOfAnyLengthWithACacheEqualsTheWhole) {
  const auto x = randn({3, kLength, kSize}, torch::kFloat64);
  const auto added = randn({3, 4, kLength, kLength}, torch::kFloat64);
  const std::vector<std::vector<int64_t>> splits{{3, 2, 1}, {1, 4, 1}, {2, 4}, {5, 1}, {6}};
  for (const auto& options : forms()) {
    auto attention = make(options);
    for (const auto& c : mask_cases()) {
      if (!c.causal && c.window == 0) continue;
      const auto whole = attention(x, c.mask(added, 0, kLength));
      for (const auto& split : splits) {
        SCOPED_TRACE(test::printed(attention) + c.name() + c10::str(" split ", split));
        KeyValueCache cache;
        std::vector<torch::Tensor> pieces;
        for (const auto length : split) {
          const auto begin = cache.length();
          pieces.push_back(attention->forward(x.narrow(1, begin, length),
                                              c.mask(added, begin, begin + length),
                                              &cache));
        }
        EXPECT_EQ(cache.length(), kLength);
        EXPECT_EQ(cache.key.size(1), options.kv_heads());
        EXPECT_TRUE(all_close(torch::cat(pieces, 1), whole));
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST_P(AttentionFormsTest, ReadsAMemoryOnceIntoTheCacheOfItsKeyHeads) {
  const auto x = randn({3, kLength, kSize}, torch::kFloat64);
  const auto memory = randn({3, 4, kSize}, torch::kFloat64);
  const auto padding =
      torch::tensor({{0, 0, 0, 0}, {1, 0, 0, 1}, {0, 0, 0, 1}}).to(torch::kBool).to(device());
  const auto mask = AttentionMask::padding(padding);
  for (const auto& options : forms()) {
    auto attention = make(options);
    SCOPED_TRACE(test::printed(attention));
    const auto expected = reference(attention, x, memory, padding.unsqueeze(1).unsqueeze(1));
    KeyValueCache cache;
    EXPECT_TRUE(all_close(attention->cross_attention(x, memory, mask, &cache), expected));
    EXPECT_EQ(cache.key.sizes(), (std::vector<int64_t>{3, options.kv_heads(), 4, 4}));
    for (int64_t t = 0; t < kLength; ++t) {
      EXPECT_TRUE(all_close(attention->cross_attention(x.narrow(1, t, 1), {}, mask, &cache),
                            expected.narrow(1, t, 1)));
    }
  }
}

TEST_P(AttentionFormsTest, HasRightGradients) {
  const auto rows = randn({3, kLength, kSize}, torch::kFloat64);
  const auto shift = randn({kLength, kSize}, torch::kFloat64).requires_grad_();
  const auto added = randn({kLength, kLength}, torch::kFloat64).requires_grad_();
  const auto padding = MaskCase{true, 0, -1}.mask(rows, 0, kLength);  // row 2 sees nothing
  for (const auto& options : {forms()[0], forms()[3]}) {
    auto attention = make(options);
    attention->reset_parameters();  // not so steep that differences err
    for (const auto& mask :
         {AttentionMask(), AttentionMask::causal(), padding & AttentionMask::from_tensor(added)}) {
      SCOPED_TRACE(test::printed(attention) + (mask.empty() ? "" : " masked"));
      EXPECT_TRUE(
          test::gradients_are_right([&] { return attention(rows + shift, mask); }, {shift}));
    }
    const auto mask = padding & AttentionMask::from_tensor(added);
    EXPECT_TRUE(test::gradients_are_right([&] { return attention(rows, mask); }, {added}));
  }
}

// Before: bool masks chose cuDNN for half types on an H100, with NaN gradients and numbers that are
// not 0. Sizes are those that every kernel takes.
TEST_P(AttentionFormsTest, ARowThatSeesNoKeyIsZeroWithFiniteGradientsInEveryDtype) {
  auto padding = torch::zeros({3, 64}, torch::kBool);
  padding[0].fill_(true);
  padding[1].narrow(0, 0, 9).fill_(true);
  const auto hides = AttentionMask::padding(padding.to(device()));
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16, torch::kHalf}) {
    for (const auto& mask : {hides, hides & AttentionMask::causal()}) {
      SCOPED_TRACE(c10::str(dtype, mask.is_square_causal(64, 64)));
      auto attention = make(AttentionOptions(128, 2), dtype);
      // Scores of some hundreds, which random weights give, are too much for the gradient of
      // cuDNN's attention with a mask, whatever it hides.
      attention->reset_parameters();
      {
        const torch::NoGradGuard no_grad;
        attention->out_proj->bias.normal_();
      }
      const auto x = randn({3, 64, 128}).to(dtype).requires_grad_();
      const auto y = attention(x, mask);
      y.mul(randn({3, 64, 128}).to(dtype)).sum().backward();

      EXPECT_TRUE(same_bits(y[0], attention->out_proj->bias.expand({64, 128})));
      EXPECT_TRUE(y.isfinite().all().item<bool>());
      EXPECT_TRUE(x.grad().isfinite().all().item<bool>());
      for (const auto& parameter : attention->named_parameters()) {
        EXPECT_TRUE(parameter.value().grad().isfinite().all().item<bool>()) << parameter.key();
      }
    }
  }
}

TEST_P(AttentionFormsTest, ShowsAnObserverItsWeightsAndComputesTheSame) {
  const auto x = randn({3, kLength, kSize}, torch::kFloat64);
  for (const auto& options : forms()) {
    auto attention = make(options);
    for (const auto& c : {MaskCase{}, MaskCase{true, 0, -1}, MaskCase{true, 3, 1, true}}) {
      SCOPED_TRACE(test::printed(attention) + c.name());
      const auto mask = c.mask(x, 0, kLength);
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
      EXPECT_TRUE(same_bits(watched, unwatched));
      ASSERT_EQ(weights.sizes(), (std::vector<int64_t>{3, 4, kLength, kLength}));
      const auto hidden = c.hidden_table().to(device());
      EXPECT_EQ(weights.masked_select(hidden).count_nonzero().item<int64_t>(), 0);
      const auto sees = hidden.logical_not().any(-1).to(torch::kFloat64).expand({3, 4, kLength});
      EXPECT_TRUE(all_close(weights.sum(-1), sees));
      const auto v = attention->project(x, x).value;
      EXPECT_TRUE(
          all_close(attention->output(weights.matmul(v.repeat_interleave(4 / v.size(1), 1))),
                    unwatched));
    }
  }
}

TEST_P(AttentionFormsTest, ClonesSavesAndLoadsUnderItsNames) {
  const std::vector<std::vector<std::string>> names{
      {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias", "buffers"},
      {"in_proj_weight", "out_proj.weight", "buffers"},
      {"q_proj.weight",
       "q_proj.bias",
       "k_proj.weight",
       "k_proj.bias",
       "v_proj.weight",
       "v_proj.bias",
       "out_proj.weight",
       "out_proj.bias",
       "buffers"},
      {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias", "buffers"},
      {"q_proj.weight", "k_proj.weight", "v_proj.weight", "out_proj.weight", "buffers"}};
  for (size_t i = 0; i < names.size(); ++i) {
    auto attention = make(forms()[i]);
    auto copy = test::clone_of(attention);
    auto loaded = make(forms()[i]);
    test::save_and_load(attention, loaded);
    const auto x = randn({2, 3, kSize}, torch::kFloat64);

    EXPECT_EQ(test::state_names(*attention), names[i]);
    EXPECT_TRUE(test::shares_nothing(*copy, *attention));
    EXPECT_TRUE(same_bits(copy(x), attention(x)));
    EXPECT_TRUE(same_bits(loaded(x), attention(x)));
  }
}

TEST_P(AttentionFormsTest, IsOneOfTorchsAnyModules) {
  auto attention = make(forms()[0]);
  const auto x = randn({2, 3, kSize}, torch::kFloat64);
  torch::nn::AnyModule any(attention);
  EXPECT_TRUE(same_bits(any.forward(x), attention(x)));
  EXPECT_TRUE(
      same_bits(any.forward(x, AttentionMask::causal()), attention(x, AttentionMask::causal())));
}

TEST_P(AttentionFormsTest, ManyThreadsShareOneMaskAndOneModule) {
  auto attention = make(forms()[3]);
  attention->eval();
  const auto x = randn({3, kLength, kSize}, torch::kFloat64);
  const auto mask = MaskCase{true, 3, -1}.mask(x, 0, kLength);
  const auto expected = attention(x, mask);
  std::vector<torch::Tensor> outputs(4);
  std::vector<std::thread> threads;
  threads.reserve(outputs.size());
  for (auto& output : outputs) {
    threads.emplace_back([&] {
      const torch::NoGradGuard no_grad;
      for (int i = 0; i < 20; ++i) output = attention->forward(x, mask);
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& output : outputs) EXPECT_TRUE(all_close(output, expected));
}

EVENKEEL_ON_EVERY_DEVICE(AttentionFormsTest);

class AttentionInitTest : public test::SeededTest {};

// Xavier uniform on (3d, d), which is gain 1/sqrt(2) on each third.
TEST_F(AttentionInitTest, DrawsEveryPartAlikeInEveryForm) {
  constexpr int64_t kWidth = 256;
  const auto bound = [](const torch::Tensor& weight, double gain) {
    return gain * std::sqrt(6.0 / static_cast<double>(weight.size(0) + weight.size(1)));
  };
  const auto is_uniform = [&](const torch::Tensor& weight, double expected) {
    const auto& size = weight.detach().abs();
    EXPECT_LE(size.max().item<double>(), expected * (1 + 1e-6));
    EXPECT_NEAR(size.max().item<double>() / expected, 1.0, 1e-3);
    EXPECT_NEAR(weight.std().item<double>() * std::sqrt(3.0) / expected, 1.0, 0.02);
  };
  for (const bool packed : {true, false}) {
    for (const int64_t kv_heads : {4, 1}) {
      MultiHeadAttention attention(
          AttentionOptions(kWidth, 4).packed(packed).num_kv_heads(kv_heads));
      test::randomise(*attention);
      attention->reset_parameters();
      const auto kv = attention->options.kv_dim();
      const auto parts = packed ? attention->in_proj_weight.split_with_sizes({kWidth, kv, kv})
                                : std::vector<torch::Tensor>{attention->q_proj->weight,
                                                             attention->k_proj->weight,
                                                             attention->v_proj->weight};
      for (const auto& part : parts) is_uniform(part, bound(part, std::sqrt(0.5)));
      is_uniform(attention->out_proj->weight, bound(attention->out_proj->weight, 1.0));
      if (packed && kv_heads == 4) {
        is_uniform(attention->in_proj_weight, bound(attention->in_proj_weight, 1.0));
      }
      for (const auto& parameter : attention->named_parameters()) {
        if (parameter.value().dim() == 1) {
          EXPECT_EQ(parameter.value().count_nonzero().item<int64_t>(), 0) << parameter.key();
        }
      }
    }
  }
}

TEST_F(AttentionInitTest, TellsTheRolesOfSeparateProjections) {
  MultiHeadAttention attention(AttentionOptions(4, 2).packed(false).num_kv_heads(1).bias(false));
  EXPECT_EQ(test::parameters_of(anatomy_of(attention)),
            (test::Lines{"q_proj.weight: query, encoder 0",
                         "k_proj.weight: key, encoder 0",
                         "v_proj.weight: value, encoder 0",
                         "out_proj.weight: attention output, encoder 0"}));
}

TEST_F(AttentionInitTest, PrintsWhatDiffersFromTheDefaults) {
  const MultiHeadAttention attention(
      AttentionOptions(4, 2).packed(false).num_kv_heads(1).bias(false));
  EXPECT_NE(test::printed(attention).find(
                "evenkeel::nn::MultiHeadAttention(embed_dim=4, num_heads=2, num_kv_heads=1, "
                "packed=false, bias=false, dropout=0)"),
            std::string::npos);
}

// Attention of one's own: one step is replaced, and the rest is as it was.

class SoftCappedImpl : public AttentionImplBase<SoftCappedImpl> {
 public:
  explicit SoftCappedImpl(const AttentionOptions& options_) : AttentionImplBase(options_) {
    reset();
  }
  torch::Tensor attend(const torch::Tensor& q,
                       const torch::Tensor& k,
                       const torch::Tensor& v,
                       const AttentionMask& mask) override {
    const auto scores = q.matmul(repeat_heads(k).transpose(-1, -2)) / std::sqrt(double(q.size(3)));
    return masked_softmax(30.0 * (scores / 30.0).tanh(), mask).matmul(repeat_heads(v));
  }
};
TORCH_MODULE(SoftCapped);

class QueryKeyNormImpl : public AttentionImplBase<QueryKeyNormImpl> {
 public:
  explicit QueryKeyNormImpl(const AttentionOptions& options_) : AttentionImplBase(options_) {
    reset();
  }
  void reset() override {
    AttentionImplBase::reset();
    norm = register_module("norm",
                           torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.head_dim()})));
  }
  QueryKeyValue project(const torch::Tensor& x, const torch::Tensor& memory) override {
    auto heads = AttentionImplBase::project(x, memory);
    heads.query = norm(heads.query);
    if (heads.key.defined()) heads.key = norm(heads.key);
    return heads;
  }
  torch::nn::LayerNorm norm{nullptr};
};
TORCH_MODULE(QueryKeyNorm);

// Neither value nor output has a matrix.
class IdentityValueImpl : public AttentionImplBase<IdentityValueImpl> {
 public:
  explicit IdentityValueImpl(const AttentionOptions& options_) : AttentionImplBase(options_) {
    reset();
  }
  void reset() override {
    const auto linear = [&] { return torch::nn::Linear(options.embed_dim(), options.embed_dim()); };
    q_proj = register_module("q_proj", linear());
    k_proj = register_module("k_proj", linear());
    reset_parameters();
  }
  QueryKeyValue project(const torch::Tensor& x, const torch::Tensor& memory) override {
    if (!memory.defined()) return {split_heads(q_proj(x)), {}, {}};
    return {split_heads(q_proj(x)), split_heads(k_proj(memory)), split_heads(memory)};
  }
  torch::Tensor output(const torch::Tensor& y) override { return y.transpose(1, 2).flatten(2); }
};
TORCH_MODULE(IdentityValue);

class OwnAttentionTest : public test::SeededTest {
 protected:
  // In pieces with a cache as in the whole; as a child, the clone is of its own type and weights.
  template <typename Holder>
  static void works(Holder attention) {
    test::randomise(*attention);
    attention->to(torch::kFloat64);
    const auto x = torch::randn({3, kLength, kSize}, torch::kFloat64);
    const auto mask = AttentionMask::causal();
    const auto whole = attention->forward(x, mask);
    KeyValueCache cache;
    Attention& called = *attention;
    const auto first = called.forward(x.narrow(1, 0, 3), mask, &cache);
    const auto last = called.forward(x.narrow(1, 3, 3), mask, &cache);
    EXPECT_TRUE(all_close(torch::cat({first, last}, 1), whole));

    auto copy = test::clone_of(attention);
    EXPECT_TRUE(same_bits(copy->forward(x, mask), whole));
    EXPECT_TRUE(test::shares_nothing(*copy, *attention));
    EXPECT_TRUE(test::same_state(*copy, *attention));
  }
};

TEST_F(OwnAttentionTest, CapsItsScores) {
  SoftCapped capped(AttentionOptions(kSize, 4).num_kv_heads(2).bias(false));
  works(capped);
  MultiHeadAttention plain(capped->options);
  plain->to(torch::kFloat64);
  test::save_and_load(capped, plain);
  const auto x = torch::randn({3, kLength, kSize}, torch::kFloat64);
  EXPECT_FALSE(all_close(capped(x), plain(x)));
  EXPECT_TRUE(all_close(capped(1e-3 * x), plain(1e-3 * x)));  // scores near 0 are as they were
}

TEST_F(OwnAttentionTest, NormalisesQueriesAndKeys) {
  works(QueryKeyNorm(AttentionOptions(kSize, 4)));
}

TEST_F(OwnAttentionTest, HasNoMatrixForValueAndOutput) {
  IdentityValue attention(AttentionOptions(kSize, 4));
  works(attention);
  EXPECT_EQ(test::state_names(*attention),
            (std::vector<std::string>{"q_proj.weight",
                                      "q_proj.bias",
                                      "k_proj.weight",
                                      "k_proj.bias",
                                      "buffers"}));
}

}  // namespace
}  // namespace evenkeel::nn
