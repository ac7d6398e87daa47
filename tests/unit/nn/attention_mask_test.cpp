// SPDX-License-Identifier: MIT
#include <evenkeel/nn/attention_mask.hpp>

#include "all_close.hpp"
#include "errors.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

namespace evenkeel::nn {
namespace {

using test::same_bits;
using test::throws;

TEST(AttentionMaskTest, HidesNothingUnlessToldTo) {
  EXPECT_FALSE(AttentionMask().visible().defined());
  EXPECT_FALSE(AttentionMask().is_causal());
}

TEST(AttentionMaskTest, OfPaddingShowsTheOtherKeysToEveryHeadAndQuery) {
  const auto padding = torch::tensor({{0, 0, 1}, {0, 1, 1}}).to(torch::kBool);
  const auto mask = AttentionMask::padding(padding);

  EXPECT_TRUE(same_bits(mask.visible(), padding.logical_not().view({2, 1, 1, 3})));
  EXPECT_FALSE(mask.is_causal());
}

TEST(AttentionMaskTest, WrittenOutShowsWhatItDoesNotLeaveOut) {
  const auto left_out = torch::tensor({{0, 1}, {0, 0}}).to(torch::kBool);
  EXPECT_TRUE(same_bits(AttentionMask::explicitly(left_out).visible(), left_out.logical_not()));
}

TEST(AttentionMaskTest, SelectsBatchRows) {
  const auto padding = torch::tensor({{0, 0, 1}, {0, 1, 1}}).to(torch::kBool);
  const auto index = torch::tensor({1, 1, 0});
  const auto mask = AttentionMask::padding(padding).select(index);
  EXPECT_TRUE(
      same_bits(mask.visible(), AttentionMask::padding(padding.index_select(0, index)).visible()));
}

TEST(AttentionMaskTest, SelectsNothingWhereAllRowsShareIt) {
  const auto index = torch::tensor({1, 1, 0});
  const auto shared = AttentionMask::explicitly(torch::zeros({2, 3}, torch::kBool));
  EXPECT_TRUE(same_bits(shared.select(index).visible(), shared.visible()));
  EXPECT_TRUE(AttentionMask::causal().select(index).is_causal());
  EXPECT_FALSE(AttentionMask().select(index).visible().defined());
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
        AttentionMask::explicitly(torch::zeros({2, 2, 3}, torch::kBool));
      },
      "AttentionMask: expected attn_mask to be bool of shape [queries, keys] or "
      "[batch, 1, queries, keys], but got Bool of shape [2, 2, 3]"));
}

}  // namespace
}  // namespace evenkeel::nn
