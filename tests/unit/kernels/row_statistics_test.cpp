// SPDX-License-Identifier: MIT
// Norms of rows whose elements hardly differ, or are large.
#include <evenkeel/kernels/fused_residual.hpp>

#include "all_close.hpp"
#include "fixture.hpp"
#include "residual_formula.hpp"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;

class RowStatisticsTest : public test::DeviceTest {
 protected:
  static torch::Tensor layer_norm(const torch::Tensor& x) {
    return fused_residual({x, torch::zeros_like(x)}, ResidualNorm::layer_norm({}, {}));
  }

  // In float64, where nothing of float32's rows is lost.
  static torch::Tensor exact(const torch::Tensor& x) {
    return torch::layer_norm(x.to(torch::kFloat64), {x.size(-1)}).to(torch::kFloat32);
  }

  // Rows of one number each: 1e3 to 1e9, of both signs.
  static torch::Tensor constant_rows(int64_t dim) {
    const auto numbers = torch::logspace(3, 9, 100, 10.0, torch::kFloat32);
    return torch::cat({numbers, -numbers}).unsqueeze(1).expand({-1, dim}).contiguous().to(device());
  }
};

TEST_P(RowStatisticsTest, OfAConstantRowGiveZero) {
  for (const int64_t dim : {1, 7, 100, 200, 1000, 2000, 5000, 16384}) {
    SCOPED_TRACE(dim);
    const auto x = constant_rows(dim);
    EXPECT_TRUE(test::same_bits(layer_norm(x), torch::zeros_like(x)));
  }
}

// One element is the next float: what is left of the others is the rounding of their mean.
TEST_P(RowStatisticsTest, AreRightWhereOneElementIsTheNextFloat) {
  for (const int64_t dim : {2, 7, 64, 1000, 16384}) {
    SCOPED_TRACE(dim);
    auto x = constant_rows(dim);
    x.select(1, dim / 2) *= 1.0F + std::numeric_limits<float>::epsilon();
    const auto y = layer_norm(x);
    const auto expected = exact(x);
    EXPECT_TRUE(y.isfinite().all().item<bool>());
    if (device().is_cpu()) {
      EXPECT_TRUE(all_close(y, expected));
    }
  }
}

TEST_P(RowStatisticsTest, AreRightWhereTheFirstElementIsFarFromTheOthers) {
  for (const double first : {1e3, -1e6}) {
    SCOPED_TRACE(first);
    auto x = randn({64, 1000}) + 2.0;
    x.select(1, 0).fill_(first);
    EXPECT_TRUE(all_close(layer_norm(x), exact(x)));
  }
}

TEST_P(RowStatisticsTest, OfNumbersFarFromZeroAreAsExactAsTheNumbers) {
  for (const double mean : {1e2, 1e4, 1e6}) {
    SCOPED_TRACE(mean);
    const auto x = randn({64, 768}) + mean;
    const auto wide = x.to(torch::kFloat64);
    const auto dy = randn({64, 768});
    const auto dx = [&](const torch::Tensor& leaf, bool fused) {
      leaf.requires_grad_();
      const auto y = fused ? layer_norm(leaf) : torch::layer_norm(leaf, {768});
      return torch::autograd::grad({y}, {leaf}, {dy.to(leaf.scalar_type())})[0];
    };
    EXPECT_LT(test::relative_error(layer_norm(x), torch::layer_norm(wide, {768})), 1e-7 * mean);
    EXPECT_LT(test::relative_error(dx(x.clone(), true), dx(wide, false)), 1e-6 + 1e-7 * mean);
  }
}

TEST_P(RowStatisticsTest, KeepAnInfinityAndANaNInTheirRow) {
  for (const double bad :
       {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    auto x = randn({5, 100});
    const auto expected = layer_norm(x);
    x[2][50] = bad;
    const auto y = layer_norm(x);
    EXPECT_FALSE(y[2].isfinite().any().item<bool>());
    for (const int64_t row : {0, 1, 3, 4}) EXPECT_TRUE(test::same_bits(y[row], expected[row]));
  }
}

EVENKEEL_ON_EVERY_DEVICE(RowStatisticsTest);

}  // namespace
}  // namespace evenkeel
