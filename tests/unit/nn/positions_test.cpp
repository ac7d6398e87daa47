// SPDX-License-Identifier: MIT
#include <evenkeel/nn/positions.hpp>

#include "all_close.hpp"
#include "errors.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

namespace evenkeel::nn {
namespace {

using test::all_close;
using test::throws;

// Expected values: sin and cos of t / 10000^(2i / 4) for t = 0, 1, 7, by Python 3.11's math.
TEST(SinusoidalPositionsTest, MatchTheFormula) {
  const auto expected = torch::tensor(
      {{0.0, 1.0, 0.0, 1.0},
       {0.8414709848078965, 0.5403023058681398, 0.009999833334166664, 0.9999500004166653},
       {0.6569865987187891, 0.7539022543433046, 0.06994284733753277, 0.9975510002532796}},
      torch::kFloat32);
  const auto positions = sinusoidal_positions(8, 4);

  EXPECT_TRUE(all_close(positions.index_select(0, torch::tensor({0, 1, 7})), expected));
}

TEST(SinusoidalPositionsTest, OfFewerTokensAreTheFirstOfMore) {
  EXPECT_TRUE(
      test::same_bits(sinusoidal_positions(5, 64), sinusoidal_positions(500, 64).slice(0, 0, 5)));
  EXPECT_EQ(sinusoidal_positions(0, 4).sizes(), (std::vector<int64_t>{0, 4}));
}

TEST(SinusoidalPositionsTest, NeedAnEvenSize) {
  EXPECT_TRUE(throws([] { sinusoidal_positions(3, 5); },
                     "sinusoidal_positions: expected length >= 0 and an even embed_dim, but got 3 "
                     "and 5"));
  EXPECT_TRUE(throws([] { sinusoidal_positions(-1, 4); }, "but got -1 and 4"));
}

}  // namespace
}  // namespace evenkeel::nn
