// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace evenkeel::examples {

/// The random number generator SplitMix64, which gives the same numbers on every machine.
///
/// Paper: Steele et al. 2014, https://doi.org/10.1145/2660193.2660195.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  /// Returns a uniform 64-bit number.
  uint64_t next();

  /// Returns a uniform number from 0 to bound - 1; bound must be at least 1 (not checked).
  uint64_t below(uint64_t bound);

 private:
  uint64_t state_;
};

/// The generator of an epoch, from 0. Those of another epoch or seed have nothing in common with
/// it.
SplitMix64 epoch_random(uint64_t seed, int64_t epoch);

}  // namespace evenkeel::examples
