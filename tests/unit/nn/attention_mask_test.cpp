// SPDX-License-Identifier: MIT
#include <evenkeel/nn/attention_mask.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <limits>
#include <vector>

namespace evenkeel::nn {
namespace {

using test::all_close;
using test::throws;

constexpr double kInf = std::numeric_limits<double>::infinity();

// What the mask adds for one batch row and head.
torch::Tensor added(const AttentionMask& mask, int64_t queries, int64_t keys) {
  return mask.additive({1, 1, queries, keys}, torch::kFloat32).view({queries, keys});
}

torch::Tensor bools(const std::vector<std::vector<int64_t>>& rows) {
  std::vector<torch::Tensor> tensors;
  tensors.reserve(rows.size());
  for (const auto& row : rows) tensors.push_back(torch::tensor(row));
  return torch::stack(tensors).to(torch::kBool);
}

// 0 where `hidden` is false, -inf where it is true.
torch::Tensor infinite(const torch::Tensor& hidden) {
  return torch::zeros(hidden.sizes()).masked_fill(hidden, -kInf);
}

TEST(AttentionMaskTest, HidesNothingUnlessToldTo) {
  EXPECT_TRUE(AttentionMask().empty());
  EXPECT_FALSE(AttentionMask().additive({2, 2, 3, 3}, torch::kFloat32).defined());
  EXPECT_FALSE(AttentionMask::causal().empty());
}

TEST(AttentionMaskTest, CausalHidesLaterKeysWhereQueriesAreTheLastOfTheKeys) {
  EXPECT_TRUE(torch::equal(added(AttentionMask::causal(), 3, 3),
                           infinite(bools({{0, 1, 1}, {0, 0, 1}, {0, 0, 0}}))));
  EXPECT_TRUE(torch::equal(added(AttentionMask::causal(), 2, 5),
                           infinite(bools({{0, 0, 0, 0, 1}, {0, 0, 0, 0, 0}}))));
}

TEST(AttentionMaskTest, CausalNeedsNoTensorForASquareOrASingleQuery) {
  const auto causal = AttentionMask::causal();
  EXPECT_TRUE(causal.is_square_causal(4, 4));
  EXPECT_FALSE(causal.is_square_causal(2, 4));
  EXPECT_FALSE(causal.additive({1, 1, 1, 4}, torch::kFloat32).defined());
  EXPECT_TRUE(causal.prepare(4, 4, torch::kFloat32).is_square_causal(4, 4));
  EXPECT_TRUE(causal.prepare(1, 4, torch::kFloat32).empty());
  EXPECT_TRUE((causal & AttentionMask::window(4)).is_square_causal(4, 4));
  EXPECT_FALSE((causal & AttentionMask::window(3)).is_square_causal(4, 4));
  EXPECT_FALSE(
      (causal & AttentionMask::padding(torch::zeros({1, 4}, torch::kBool))).is_square_causal(4, 4));
}

TEST(AttentionMaskTest, WindowShowsTheLastKeysOnly) {
  EXPECT_TRUE(
      torch::equal(added(AttentionMask::window(2), 4, 4),
                   infinite(bools({{0, 1, 1, 1}, {0, 0, 1, 1}, {1, 0, 0, 1}, {1, 1, 0, 0}}))));
  EXPECT_TRUE(torch::equal(added(AttentionMask::window(2), 1, 4), infinite(bools({{1, 1, 0, 0}}))));
}

TEST(AttentionMaskTest, CombinedHidesWhatAnyOfThemHides) {
  const auto padding = AttentionMask::padding(bools({{1, 0, 0, 0}}));
  EXPECT_TRUE(
      torch::equal(added(AttentionMask::window(3) & padding & AttentionMask::window(2), 2, 4),
                   infinite(bools({{1, 0, 0, 1}, {1, 1, 0, 0}}))));
  const auto tensor = AttentionMask::from_tensor(bools({{0, 1, 0, 0}, {0, 0, 0, 0}}));
  EXPECT_TRUE(
      torch::equal(added(padding & tensor, 2, 4), infinite(bools({{1, 1, 0, 0}, {1, 0, 0, 0}}))));
}

TEST(AttentionMaskTest, CombinedAddsWhatAnyOfThemAdds) {
  const auto bias = torch::tensor({{1.0F, 2.0F}, {3.0F, 4.0F}});
  const auto mask = AttentionMask::from_tensor(bias) & AttentionMask::causal();
  EXPECT_TRUE(torch::equal(added(mask, 2, 2), torch::tensor({{1.0, -kInf}, {3.0, 4.0}}).to(bias)));
  EXPECT_TRUE(torch::equal(added(mask & AttentionMask::from_tensor(bias), 2, 2),
                           torch::tensor({{2.0, -kInf}, {6.0, 8.0}}).to(bias)));
}

TEST(AttentionMaskTest, OfPaddingIsOneRowForAllHeadsAndQueries) {
  const auto padding = bools({{0, 0, 1}, {0, 1, 1}});
  const auto mask = AttentionMask::padding(padding);
  EXPECT_TRUE(torch::equal(mask.additive({2, 4, 5, 3}, torch::kFloat32),
                           infinite(padding).view({2, 1, 1, 3})));
}

TEST(AttentionMaskTest, PreparedIsTheSameMaskAndIsNotMadeAgain) {
  const auto padding = bools({{0, 0, 1, 0, 0}, {1, 1, 0, 0, 0}});
  const auto mask = AttentionMask::causal() & AttentionMask::padding(padding);
  const auto prepared = mask.prepare(3, 5, torch::kFloat32);
  const auto once = prepared.additive({2, 1, 3, 5}, torch::kFloat32);

  EXPECT_TRUE(torch::equal(once, mask.additive({2, 1, 3, 5}, torch::kFloat32)));
  EXPECT_TRUE(once.is_same(prepared.additive({2, 1, 3, 5}, torch::kFloat32)));
  EXPECT_EQ(prepared.additive({2, 1, 3, 5}, torch::kBFloat16).scalar_type(), torch::kBFloat16);
}

// Before, a prepared mask was no longer known as what it had been made of.
TEST(AttentionMaskTest, PreparedStillKnowsWhichKeysAreSeen) {
  const auto padding = bools({{0, 0, 1, 0, 0}, {1, 1, 0, 0, 0}});
  const auto mask = AttentionMask::causal() & AttentionMask::padding(padding);
  const auto seen = mask.prepare(3, 5, torch::kFloat32).seen_keys(3, 5);
  ASSERT_TRUE(seen.has_value());
  EXPECT_TRUE(seen->causal);
  EXPECT_TRUE(torch::equal(seen->hidden, padding.view({2, 1, 1, 5})));
  EXPECT_FALSE(mask.seen_keys(1, 5)->causal);
  EXPECT_FALSE((mask & AttentionMask::window(2)).seen_keys(3, 5).has_value());
  EXPECT_FALSE(AttentionMask::from_tensor(torch::zeros({3, 5})).seen_keys(3, 5).has_value());
  EXPECT_FALSE(AttentionMask::from_tensor(bools({{0, 1}, {0, 0}})).seen_keys(2, 2).has_value());
}

TEST(AttentionMaskTest, PreparedCombinesWithMore) {
  const auto padding = AttentionMask::padding(bools({{0, 1, 0}}));
  const auto prepared = (AttentionMask::causal() & padding).prepare(3, 3, torch::kFloat32);
  const auto more = AttentionMask::padding(bools({{1, 0, 0}}));
  const auto expected = infinite(bools({{1, 1, 1}, {1, 1, 1}, {1, 1, 0}}));
  EXPECT_TRUE(torch::equal(added(prepared & more, 3, 3), expected));
  EXPECT_TRUE(torch::equal(added(more & prepared, 3, 3), expected));
  EXPECT_TRUE(
      torch::equal(added(prepared.prepare(3, 3, torch::kFloat32), 3, 3), added(prepared, 3, 3)));
}

TEST(AttentionMaskTest, HasRowsThatCudasKernelsTakeWithoutACopy) {
  const auto mask = AttentionMask::causal() & AttentionMask::padding(bools({{0, 0, 1, 0, 0}}));
  const auto additive = mask.additive({1, 4, 3, 5}, torch::kBFloat16);
  EXPECT_EQ(additive.strides().back(), 1);
  EXPECT_EQ(additive.stride(2) % 8, 0);
  EXPECT_EQ(additive.stride(0) % 8, 0);
}

TEST(AttentionMaskTest, SelectsBatchRows) {
  const auto padding = bools({{0, 0, 1}, {0, 1, 1}});
  const auto index = torch::tensor({1, 1, 0});
  const auto mask = AttentionMask::padding(padding);
  const auto expected = infinite(padding.index_select(0, index)).view({3, 1, 1, 3});
  const auto select = [&](const AttentionMask& of) {
    return of.select(index).additive({3, 1, 2, 3}, torch::kFloat32);
  };
  EXPECT_TRUE(torch::equal(select(mask), expected));
  EXPECT_TRUE(torch::equal(select(mask.prepare(2, 3, torch::kFloat32)), expected));
}

TEST(AttentionMaskTest, SelectsNothingWhereAllRowsShareIt) {
  const auto index = torch::tensor({1, 1, 0});
  const auto shared = AttentionMask::from_tensor(torch::ones({2, 3}));
  EXPECT_TRUE(torch::equal(added(shared.select(index), 2, 3), torch::ones({2, 3})));
  EXPECT_TRUE(AttentionMask::causal().select(index).is_square_causal(3, 3));
  EXPECT_TRUE(AttentionMask().select(index).empty());
}

TEST(AttentionMaskTest, GivesGradientsToWhatIsAdded) {
  const auto bias = torch::zeros({2, 2}).requires_grad_();
  const auto mask = AttentionMask::from_tensor(bias) & AttentionMask::causal();
  added(mask, 2, 2).index({1}).sum().backward();
  EXPECT_TRUE(torch::equal(bias.grad(), torch::tensor({{0.0F, 0.0F}, {1.0F, 1.0F}})));
}

TEST(AttentionMaskTest, SoftmaxOfARowThatSeesNoKeyIsZeroWithFiniteGradients) {
  const auto scores = torch::randn({2, 1, 2, 3}).requires_grad_();
  const auto mask = AttentionMask::padding(bools({{1, 1, 1}, {0, 0, 1}}));
  const auto weights = masked_softmax(scores, mask);
  weights.square().sum().backward();

  EXPECT_TRUE(torch::equal(weights[0], torch::zeros({1, 2, 3})));
  EXPECT_TRUE(all_close(weights[1].narrow(-1, 0, 2), scores[1].narrow(-1, 0, 2).softmax(-1)));
  EXPECT_TRUE(scores.grad().isfinite().all().item<bool>());
}

TEST(AttentionMaskTest, NamesTheShapeAndDtypeItNeeds) {
  EXPECT_TRUE(throws(
      [] {
        AttentionMask::padding(torch::zeros({2, 3}));
      },
      "AttentionMask: expected key_padding_mask to be bool of shape [batch, keys], "
      "but got Float of shape [2, 3]"));
  EXPECT_TRUE(throws([] { AttentionMask::padding(torch::zeros({3}, torch::kBool)); },
                     "but got Bool of shape [3]"));
  EXPECT_TRUE(throws(
      [] {
        AttentionMask::from_tensor(torch::zeros({2, 2, 3}, torch::kBool));
      },
      "AttentionMask: expected attn_mask to be bool or floating point of shape [queries, keys] or "
      "[batch, heads or 1, queries, keys], but got Bool of shape [2, 2, 3]"));
  EXPECT_TRUE(throws(
      [] {
        AttentionMask::from_tensor(torch::zeros({2, 2}, torch::kInt64));
      },
      "but got Long of shape [2, 2]"));
  EXPECT_TRUE(throws([] { AttentionMask::window(0); },
                     "AttentionMask: expected a window of 1 or more keys, but got 0"));
}

TEST(AttentionMaskTest, NamesTheLengthsThatDoNotFit) {
  EXPECT_TRUE(throws([] { added(AttentionMask::causal(), 3, 2); },
                     "AttentionMask: expected at most as many queries as keys for a causal mask, "
                     "but got 3 and 2"));
  const auto padding = AttentionMask::padding(torch::zeros({2, 3}, torch::kBool));
  EXPECT_TRUE(throws(
      [&] {
        padding.additive({2, 4, 5, 4}, torch::kFloat32);
      },
      "AttentionMask: expected a tensor for [batch, heads, queries, keys] = "
      "[2, 4, 5, 4] on cpu, but got [2, 1, 1, 3] on cpu"));
  EXPECT_TRUE(throws(
      [&] {
        padding.additive({3, 4, 5, 3}, torch::kFloat32);
      },
      "but got [2, 1, 1, 3] on cpu"));
  EXPECT_TRUE(throws(
      [&] {
        (void)(padding & AttentionMask::from_tensor(bools({{0, 1}, {0, 0}})));
      },
      "AttentionMask: expected masks of the same lengths to combine, but got [2, 1, 1, 3] "
      "and [1, 1, 2, 2]"));
}

}  // namespace
}  // namespace evenkeel::nn
