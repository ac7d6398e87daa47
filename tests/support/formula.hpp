// SPDX-License-Identifier: MIT
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace evenkeel::test {

/// The same formula in float64: within 1e-12 of the larger of 1 and the value.
inline ::testing::AssertionResult all_close(double actual, double expected) {
  const double tolerance = 1e-12 * std::max(1.0, std::abs(expected));
  if (std::abs(actual - expected) <= tolerance) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << actual << " and " << expected << " differ by " << std::abs(actual - expected)
         << ", tolerance " << tolerance;
}

/// |measured - expected| is within five standard errors, which chance exceeds once in 1.7 million.
inline ::testing::AssertionResult within_sampling_error(double measured,
                                                        double expected,
                                                        double standard_error) {
  if (std::abs(measured - expected) <= 5.0 * standard_error) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << measured << " is " << std::abs(measured - expected) << " from " << expected
         << ", standard error " << standard_error;
}

}  // namespace evenkeel::test
