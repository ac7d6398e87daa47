// SPDX-License-Identifier: MIT
#pragma once

#include "formula.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

namespace evenkeel::test {

/// a and b are close if |a - b| <= absolute + relative * |b| in every element.
struct Tolerance {
  double relative;
  double absolute;
};

/// Values: torch.testing.assert_close of PyTorch 2.11, made ten times wider for float32, since
/// the sums here are of other orders on CPU and CUDA.
inline Tolerance tolerance_of(torch::ScalarType dtype) {
  switch (dtype) {
    case torch::kFloat64:
      return {1e-7, 1e-7};
    case torch::kFloat32:
      return {1.3e-5, 1e-5};
    case torch::kHalf:
      return {1e-3, 1e-5};
    case torch::kBFloat16:
      return {1.6e-2, 1e-5};
    default:
      return {0.0, 0.0};
  }
}

namespace detail {

inline ::testing::AssertionResult compare(const torch::Tensor& actual,
                                          const torch::Tensor& expected,
                                          const Tolerance& tolerance) {
  if (!actual.defined() || !expected.defined()) {
    return ::testing::AssertionFailure() << "a tensor is undefined";
  }
  if (actual.sizes() != expected.sizes()) {
    return ::testing::AssertionFailure()
           << "shapes differ: " << actual.sizes() << " and " << expected.sizes();
  }
  if (actual.scalar_type() != expected.scalar_type()) {
    return ::testing::AssertionFailure()
           << "dtypes differ: " << actual.scalar_type() << " and " << expected.scalar_type();
  }
  if (actual.numel() == 0) return ::testing::AssertionSuccess();
  const auto a = actual.detach().to(torch::kCPU, torch::kFloat64);
  const auto b = expected.detach().to(torch::kCPU, torch::kFloat64);
  const auto difference = (a - b).abs();
  // A NaN on either side is above any bound.
  const auto excess = (difference - (tolerance.absolute + tolerance.relative * b.abs()))
                          .nan_to_num(/*nan=*/1e300, /*posinf=*/1e300, /*neginf=*/-1e300);
  if (excess.max().item<double>() <= 0.0) return ::testing::AssertionSuccess();
  const auto worst = excess.argmax().item<int64_t>();
  return ::testing::AssertionFailure()
         << "largest difference " << difference.max().item<double>() << ", worst at element "
         << worst << " of " << a.sizes() << ": " << a.flatten()[worst].item<double>() << " and "
         << b.flatten()[worst].item<double>() << ", tolerance " << tolerance.absolute << " + "
         << tolerance.relative << " * |expected|";
}

}  // namespace detail

/// Same shape and dtype, and every element within the tolerance of the dtype.
inline ::testing::AssertionResult all_close(const torch::Tensor& actual,
                                            const torch::Tensor& expected) {
  return detail::compare(actual, expected, tolerance_of(expected.scalar_type()));
}

/// Same shape, dtype and bits.
inline ::testing::AssertionResult same_bits(const torch::Tensor& actual,
                                            const torch::Tensor& expected) {
  return detail::compare(actual, expected, {0.0, 0.0});
}

/// The yardstick for half types, as in flash-attention's tests: the error against float32 is at
/// most twice that of the plain implementation in the same half type.
inline ::testing::AssertionResult at_most_twice_the_error(const torch::Tensor& actual,
                                                          const torch::Tensor& plain,
                                                          const torch::Tensor& float32) {
  if (actual.scalar_type() != plain.scalar_type()) {
    return ::testing::AssertionFailure()
           << "dtypes differ: " << actual.scalar_type() << " and " << plain.scalar_type();
  }
  const auto error = [&](const torch::Tensor& x) {
    return (x.detach().to(torch::kFloat32) - float32.detach()).abs().max().item<double>();
  };
  if (error(actual) <= 2.0 * error(plain)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "largest error " << error(actual)
                                       << ", that of the plain implementation " << error(plain);
}

}  // namespace evenkeel::test
