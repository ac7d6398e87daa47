// SPDX-License-Identifier: MIT
#include <evenkeel/nn/attention.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/options/activation.h>
#include <torch/types.h>

#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

namespace evenkeel::nn {
namespace {

using test::all_close;
using test::same_bits;
using test::throws;

constexpr int64_t kDim = 8;
constexpr int64_t kHeads = 2;
constexpr int64_t kBatch = 3;
constexpr int64_t kQueries = 5;
constexpr int64_t kKeys = 7;

class MultiHeadAttentionTest : public test::DeviceTest {
 protected:
  void SetUp() override {
    test::DeviceTest::SetUp();
    test::randomise(*attention_);
    attention_->to(device());
  }

  // torch::nn's with the same weights; its tensors have the batch second.
  static torch::Tensor reference(const MultiHeadAttention& attention,
                                 const torch::Tensor& x,
                                 const torch::Tensor& memory,
                                 const torch::Tensor& key_padding_mask = {},
                                 const torch::Tensor& attn_mask = {}) {
    torch::nn::MultiheadAttention theirs(torch::nn::MultiheadAttentionOptions(kDim, kHeads));
    theirs->to(x.device());
    const torch::NoGradGuard no_grad;
    auto parameters = theirs->named_parameters();
    for (const auto& parameter : attention->named_parameters()) {
      parameters[parameter.key()].copy_(parameter.value());
    }
    const auto keys = memory.transpose(0, 1);
    return std::get<0>(theirs(x.transpose(0, 1),
                              keys,
                              keys,
                              key_padding_mask,
                              /*need_weights=*/true,  // the path without SDPA
                              attn_mask))
        .transpose(0, 1);
  }

  static torch::Tensor later_keys(int64_t length) {
    return torch::ones({length, length}, options(torch::kBool)).triu(1);
  }

  static torch::Tensor padding() {  // none, two and one of seven keys
    const auto lengths = torch::tensor({7, 5, 6}).unsqueeze(1);
    return torch::arange(kKeys).unsqueeze(0).ge(lengths).to(device());
  }

  MultiHeadAttention attention_{MultiHeadAttentionOptions(kDim, kHeads)};
};

TEST_P(MultiHeadAttentionTest, EqualsTorchsToItself) {
  const auto x = randn({kBatch, kQueries, kDim});
  EXPECT_TRUE(all_close(attention_(x), reference(attention_, x, x)));
}

TEST_P(MultiHeadAttentionTest, EqualsTorchsWithACausalMask) {
  const auto x = randn({kBatch, kQueries, kDim});
  // torch::nn's adds its mask in C++, also one of bool.
  const auto mask =
      torch::zeros({kQueries, kQueries}, options())
          .masked_fill(later_keys(kQueries), -std::numeric_limits<double>::infinity());
  const auto expected = reference(attention_, x, x, {}, mask);

  EXPECT_TRUE(all_close(attention_(x, AttentionMask::causal()), expected));
  EXPECT_TRUE(all_close(attention_(x, AttentionMask::from_tensor(later_keys(kQueries))), expected));
  EXPECT_FALSE(all_close(attention_(x), expected));
}

TEST_P(MultiHeadAttentionTest, EqualsTorchsWithKeyPadding) {
  const auto x = randn({kBatch, kKeys, kDim});
  const auto expected = reference(attention_, x, x, padding());

  EXPECT_TRUE(all_close(attention_(x, AttentionMask::padding(padding())), expected));
  EXPECT_FALSE(all_close(attention_(x), expected));
}

TEST_P(MultiHeadAttentionTest, EqualsTorchsToAMemory) {
  const auto x = randn({kBatch, kQueries, kDim});
  const auto memory = randn({kBatch, kKeys, kDim});

  EXPECT_TRUE(all_close(attention_->cross_attention(x, memory), reference(attention_, x, memory)));
  EXPECT_TRUE(all_close(attention_->cross_attention(x, memory, AttentionMask::padding(padding())),
                        reference(attention_, x, memory, padding())));
}

TEST_P(MultiHeadAttentionTest, StepByStepWithACacheEqualsTheWhole) {
  const auto x = randn({kBatch, kQueries, kDim});
  KeyValueCache cache;
  std::vector<torch::Tensor> steps;
  for (int64_t t = 0; t < kQueries; ++t) {
    steps.push_back(attention_->forward(x.narrow(1, t, 1), AttentionMask::causal(), &cache));
    EXPECT_EQ(cache.key.size(2), t + 1);
  }
  EXPECT_TRUE(all_close(torch::cat(steps, 1), attention_(x, AttentionMask::causal())));
}

TEST_P(MultiHeadAttentionTest, GoesOnFromACacheThatAWholePrefixFilled) {
  const auto x = randn({kBatch, kQueries, kDim});
  const auto whole = attention_(x, AttentionMask::causal());
  KeyValueCache cache;
  const auto first =
      attention_->forward(x.narrow(1, 0, kQueries - 1), AttentionMask::causal(), &cache);
  const auto last =
      attention_->forward(x.narrow(1, kQueries - 1, 1), AttentionMask::causal(), &cache);

  EXPECT_TRUE(all_close(torch::cat({first, last}, 1), whole));
}

TEST_P(MultiHeadAttentionTest, ReadsAMemoryOnceIntoItsCache) {
  const auto x = randn({kBatch, kQueries, kDim});
  const auto memory = randn({kBatch, kKeys, kDim});
  KeyValueCache cache;
  const auto first = attention_->cross_attention(x, memory, {}, &cache);

  EXPECT_TRUE(all_close(first, attention_->cross_attention(x, memory)));
  EXPECT_TRUE(
      same_bits(attention_->cross_attention(x, randn({kBatch, kKeys, kDim}), {}, &cache), first));
}

TEST_P(MultiHeadAttentionTest, SelectsCachedBatchRows) {
  const auto x = randn({kBatch, kQueries, kDim});
  const auto index = torch::tensor({2, 0, 2}).to(device());
  KeyValueCache cache;
  attention_->forward(x.narrow(1, 0, kQueries - 1), AttentionMask::causal(), &cache);
  cache.select(index);
  const auto last = attention_->forward(x.index_select(0, index).narrow(1, kQueries - 1, 1),
                                        AttentionMask::causal(),
                                        &cache);

  const auto whole = attention_(x.index_select(0, index), AttentionMask::causal());
  EXPECT_TRUE(all_close(last, whole.narrow(1, kQueries - 1, 1)));
}

TEST_P(MultiHeadAttentionTest, SelectsFromAnEmptyCacheNothing) {
  KeyValueCache cache;
  cache.select(torch::tensor({0}));
  EXPECT_FALSE(cache.key.defined());
}

TEST_P(MultiHeadAttentionTest, HasRightGradients) {
  MultiHeadAttention attention(MultiHeadAttentionOptions(4, 2));
  attention->to(device(), torch::kFloat64);
  test::randomise(*attention);
  auto inputs = attention->parameters();
  const auto x = randn({2, 3, 4}, torch::kFloat64).requires_grad_();
  const auto memory = randn({2, 2, 4}, torch::kFloat64).requires_grad_();
  inputs.push_back(x);

  EXPECT_TRUE(
      test::gradients_are_right([&] { return attention(x, AttentionMask::causal()); }, inputs));
  inputs.push_back(memory);
  EXPECT_TRUE(
      test::gradients_are_right([&] { return attention->cross_attention(x, memory); }, inputs));
}

TEST_P(MultiHeadAttentionTest, InHalfPrecisionErrsLittleMoreThanPlainAttention) {
  for (const auto dtype : {torch::kBFloat16, torch::kHalf}) {
    SCOPED_TRACE(torch::str(dtype));
    MultiHeadAttention exact(MultiHeadAttentionOptions(64, 4));
    exact->to(device());
    const auto x = randn({4, 32, 64});
    auto half = test::clone_of(exact);
    half->to(dtype);
    const auto y = half(x.to(dtype));

    const auto qkv = torch::linear(x.to(dtype), half->in_proj_weight, half->in_proj_bias)
                         .view({4, 32, 3, 4, 16})
                         .permute({2, 0, 3, 1, 4})
                         .unbind(0);
    const auto weights = (qkv[0].matmul(qkv[1].transpose(-1, -2)) / std::sqrt(16.0)).softmax(-1);
    const auto plain = half->out_proj(weights.matmul(qkv[2]).transpose(1, 2).reshape({4, 32, 64}));

    EXPECT_EQ(y.scalar_type(), dtype);
    EXPECT_TRUE(test::at_most_twice_the_error(y, plain, exact(x)));
  }
}

TEST_P(MultiHeadAttentionTest, DropsAttentionWeightsWhileTrainingOnly) {
  MultiHeadAttention dropping(MultiHeadAttentionOptions(kDim, kHeads).dropout(0.5));
  dropping->to(device());
  const auto x = randn({kBatch, kQueries, kDim});

  EXPECT_FALSE(all_close(dropping(x), dropping(x)));
  dropping->eval();
  EXPECT_TRUE(same_bits(dropping(x), dropping(x)));
}

TEST_P(MultiHeadAttentionTest, ClonesSavesAndLoads) {
  auto copy = test::clone_of(attention_);
  MultiHeadAttention loaded(MultiHeadAttentionOptions(kDim, kHeads));
  loaded->to(device());
  test::save_and_load(attention_, loaded);
  const auto x = randn({kBatch, kQueries, kDim});

  EXPECT_TRUE(test::same_state(*copy, *attention_));
  EXPECT_TRUE(test::shares_nothing(*copy, *attention_));
  EXPECT_TRUE(same_bits(copy(x), attention_(x)));
  EXPECT_TRUE(test::same_state(*loaded, *attention_));
}

TEST_P(MultiHeadAttentionTest, LoadsTorchsCheckpoints) {
  torch::nn::MultiheadAttention theirs(torch::nn::MultiheadAttentionOptions(kDim, kHeads));
  theirs->to(device());
  test::save_and_load(theirs, attention_);
  const auto x = randn({kBatch, kQueries, kDim});
  const auto sequence = x.transpose(0, 1);

  EXPECT_TRUE(
      all_close(attention_(x), std::get<0>(theirs(sequence, sequence, sequence)).transpose(0, 1)));
}

EVENKEEL_ON_EVERY_DEVICE(MultiHeadAttentionTest);

TEST(MultiHeadAttentionPrintTest, SaysItsOptions) {
  EXPECT_EQ(test::printed(MultiHeadAttention(MultiHeadAttentionOptions(8, 2).dropout(0.1))),
            "evenkeel::nn::MultiHeadAttention(embed_dim=8, num_heads=2, dropout=0.1)(\n"
            "  (out_proj): torch::nn::Linear(in_features=8, out_features=8, bias=true)\n"
            ")");
}

TEST(MultiHeadAttentionErrorTest, NeedsHeadsThatDivideTheSize) {
  for (const int64_t heads : {3, 0}) {
    EXPECT_TRUE(
        throws([&] { MultiHeadAttention attention(MultiHeadAttentionOptions(8, heads)); },
               torch::str("MultiHeadAttention: expected embed_dim to be a multiple of num_heads, "
                          "but got 8 and ",
                          heads)));
  }
}

TEST(MultiHeadAttentionErrorTest, NamesTheShapesItNeeds) {
  MultiHeadAttention attention(MultiHeadAttentionOptions(8, 2));
  EXPECT_TRUE(throws(
      [&] {
        attention(torch::zeros({5, 8}));
      },
      "MultiHeadAttention: expected x of shape [batch, length, 8], but got [5, 8]"));
  EXPECT_TRUE(throws(
      [&] {
        attention->cross_attention(torch::zeros({1, 5, 8}), torch::zeros({1, 5, 4}));
      },
      "MultiHeadAttention: expected memory of shape [batch, length, 8], but got [1, 5, 4]"));
}

TEST(MultiHeadAttentionErrorTest, NeedsOptionsThatMakeSense) {
  const auto construct = [](const MultiHeadAttentionOptions& options) {
    return [options] { MultiHeadAttention attention(options); };
  };
  using Options = MultiHeadAttentionOptions;
  EXPECT_TRUE(throws(construct(Options(8, 4).num_kv_heads(3)),
                     "MultiHeadAttention: expected num_heads to be a multiple of num_kv_heads, but "
                     "got 4 and 3"));
  EXPECT_TRUE(throws(construct(Options(8, 4).num_kv_heads(-2)), "but got 4 and -2"));
  EXPECT_TRUE(throws(construct(Options(8, 4).dropout(1.0)),
                     "MultiHeadAttention: expected dropout in [0, 1), but got 1"));
  EXPECT_TRUE(throws(construct(Options(8, 4).dropout(std::nan(""))), "but got nan"));
}

TEST(MultiHeadAttentionErrorTest, NeedsAMemoryUnlessTheCacheHasOne) {
  MultiHeadAttention attention(MultiHeadAttentionOptions(8, 2));
  const auto x = torch::zeros({2, 3, 8});
  KeyValueCache cache;
  EXPECT_TRUE(
      throws([&] { attention->cross_attention(x, {}, {}, &cache); },
             "MultiHeadAttention: expected memory of shape [batch, length, 8], but got none"));
  EXPECT_TRUE(throws(
      [&] {
        attention->cross_attention(x, torch::zeros({1, 4, 8}), {}, &cache);
      },
      "MultiHeadAttention: expected x and memory of one batch size, but got "
      "[2, 3, 8] and [1, 4, 8]"));
  EXPECT_FALSE(cache.key.defined());
  attention->cross_attention(x, torch::zeros({2, 4, 8}), {}, &cache);
  attention->cross_attention(x, {}, {}, &cache);
  EXPECT_EQ(cache.length(), 4);
}

// Before: the keys were in the cache when the error came.
TEST(MultiHeadAttentionErrorTest, LeavesTheCacheAsItWas) {
  MultiHeadAttention attention(MultiHeadAttentionOptions(8, 2));
  KeyValueCache cache;
  attention->forward(torch::randn({2, 3, 8}), AttentionMask::causal(), &cache);
  const auto before = cache;
  const auto fails = [&](const torch::Tensor& x, const AttentionMask& mask, const char* text) {
    EXPECT_TRUE(throws([&] { attention->forward(x, mask, &cache); }, text));
    EXPECT_TRUE(cache.key.is_same(before.key));
    EXPECT_TRUE(cache.value.is_same(before.value));
  };
  const auto padding = AttentionMask::padding(torch::zeros({2, 3}, torch::kBool));

  fails(torch::randn({2, 2, 8}), padding, "= [2, 2, 2, 5] on cpu, but got [2, 1, 1, 3] on cpu");
  fails(torch::randn({3, 1, 8}),
        {},
        "MultiHeadAttention: expected cached keys and values to be Float of shape "
        "[3, 2, length, 4] on cpu, but got Float of shape [2, 2, 3, 4] on cpu and Float of shape "
        "[2, 2, 3, 4] on cpu");
  fails(torch::randn({2, 1, 8}, torch::kFloat64), {}, "");
  fails(torch::randn({2, 1, 4}), {}, "expected x of shape");
  fails({}, {}, "expected x of shape [batch, length, 8], but got none");
  fails(torch::randn({2, 1, 8}),
        AttentionMask::from_tensor(torch::zeros({2, 3, 1, 4})),
        "but got [2, 3, 1, 4] on cpu");
  attention->to(torch::kFloat64);
  fails(torch::randn({2, 1, 8}, torch::kFloat64),
        {},
        "expected cached keys and values to be Double");
}

}  // namespace
}  // namespace evenkeel::nn
