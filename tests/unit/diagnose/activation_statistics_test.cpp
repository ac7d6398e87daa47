// SPDX-License-Identifier: MIT
#include <evenkeel/diagnose/activation_statistics.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>

namespace evenkeel {
namespace {

using test::throws;

class ActivationStatisticsTest : public test::DeviceTest {};

// As train_utils.py of bobby-he/simplified_transformers has it: the diagonal of the features' Gram
// matrix, after centring and division by the rms, and torch's var().
TEST_P(ActivationStatisticsTest, AreTheAuthors) {
  const auto scales = torch::rand({6}, torch::kFloat64).to(device());
  const auto hidden = randn({3, 7, 6}, torch::kFloat64) * scales + 0.5;
  auto x = hidden - hidden.mean(-1, /*keepdim=*/true);
  const auto rms = x.square().mean().sqrt();
  x = x.view({-1, 6}) / rms;
  const auto gram = x.t().matmul(x) / x.size(0);
  EXPECT_NEAR(activation_statistics(hidden).rms, rms.item<double>(), 1e-12);
  EXPECT_NEAR(activation_statistics(hidden).kurtosis, gram.diag().var().item<double>(), 1e-12);
  EXPECT_EQ(activation_statistics(torch::ones({5, 1}, options())).kurtosis, 0.0);
}

TEST_P(ActivationStatisticsTest, OneFeatureThatHoldsAllIsAnOutlier) {
  auto x = torch::zeros({5, 10, 64}, options(torch::kFloat64));
  x.select(-1, 5).fill_(64.0);
  // Centred, one feature is 63 and the others are -1.
  const double squares = 63.0 * 63.0;
  const double mean = (squares + 63.0) / 64.0;
  const double fourth = (squares * squares + 63.0) / 64.0;
  const auto found = activation_statistics(x);
  EXPECT_NEAR(found.kurtosis, 64.0 / 63.0 * (fourth / (mean * mean) - 1.0), 1e-9);
  EXPECT_NEAR(found.rms, std::sqrt(mean), 1e-9);
  EXPECT_NEAR(found.outlier_ratio, 63.0, 1e-9);
  EXPECT_NEAR(found.feature_correlation, 1.0, 1e-9);
  EXPECT_NEAR(found.token_correlation, 1.0, 1e-9);
  EXPECT_EQ(found.near_overflow, 0.0);
}

TEST_P(ActivationStatisticsTest, LikeFeaturesHaveNoKurtosis) {
  const auto found = activation_statistics(randn({4000, 64}, torch::kFloat64));
  EXPECT_NEAR(found.kurtosis, 0.0, 0.01);
  EXPECT_NEAR(found.rms, 1.0, 0.02);
}

TEST_P(ActivationStatisticsTest, OrthogonalTokensAndFeaturesHaveNoCorrelation) {
  // Rows of a Hadamard matrix that are already centred, and their negatives: rows and columns are
  // orthogonal, or opposite.
  const auto two = torch::tensor({{1.0, 1.0}, {1.0, -1.0}}, options(torch::kFloat64));
  const auto hadamard = torch::kron(torch::kron(two, two), two);
  const auto rows = hadamard.slice(0, 1);
  const auto found = activation_statistics(rows);
  EXPECT_NEAR(found.token_correlation, 0.0, 1e-12);
  EXPECT_NEAR(found.kurtosis, 0.0, 1e-12);
  EXPECT_NEAR(found.rms, 1.0, 1e-12);
  // Two columns of the 7 rows have the product -1, and so the cosine -1/7.
  EXPECT_NEAR(found.feature_correlation, 1.0 / 7.0, 1e-12);
  // A token and its opposite: cosines 0 and, for 7 of 14 * 13 / 2 pairs, -1.
  EXPECT_NEAR(activation_statistics(torch::cat({rows, -rows})).token_correlation,
              -7.0 / 91.0,
              1e-12);
}

TEST_P(ActivationStatisticsTest, TheSmallerProductGivesTheSameCorrelation) {
  const auto wide = randn({6, 20}, torch::kFloat64);
  const auto centred = wide - wide.mean(1, true);
  const auto columns = centred / centred.norm(2, 0, true);
  const auto cosines = columns.t().matmul(columns);
  const auto off = cosines - torch::diag(cosines.diagonal());
  const double expected = std::sqrt(off.square().sum().item<double>() / (20.0 * 19.0));
  EXPECT_NEAR(activation_statistics(wide).feature_correlation, expected, 1e-12);
}

TEST_P(ActivationStatisticsTest, ValuesThatHalfPrecisionHardlyHoldsAreCounted) {
  auto x = torch::ones({2, 4}, options());
  x[0][1] = -4e4;
  x[1][2] = 3e4;
  EXPECT_NEAR(activation_statistics(x).near_overflow, 1.0 / 8.0, 1e-12);
  EXPECT_TRUE(throws([&] { activation_statistics(x[0]); },
                     "activation_statistics: expected activations of shape (*, features), but got "
                     "[4]"));
}

TEST_P(ActivationStatisticsTest, EntropyIsThatOfEachHead) {
  auto weights = torch::zeros({2, 2, 3, 4}, options());
  weights.select(1, 0).select(-1, 2).fill_(1.0);
  weights.select(1, 1).fill_(0.25);
  const auto entropy = attention_entropy(weights).to(torch::kCPU, torch::kFloat64);
  ASSERT_EQ(entropy.sizes(), torch::IntArrayRef({2}));
  EXPECT_NEAR(entropy[0].item<double>(), 0.0, 1e-7);
  EXPECT_NEAR(entropy[1].item<double>(), std::log(4.0), 1e-6);
}

EVENKEEL_ON_EVERY_DEVICE(ActivationStatisticsTest);

}  // namespace
}  // namespace evenkeel
