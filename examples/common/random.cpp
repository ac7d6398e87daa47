// SPDX-License-Identifier: MIT
#include "random.hpp"

namespace evenkeel::examples {

uint64_t SplitMix64::next() {
  state_ += 0x9E3779B97F4A7C15U;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

uint64_t SplitMix64::below(uint64_t bound) {
  const uint64_t uneven = (0 - bound) % bound;  // 2^64 % bound
  uint64_t value = next();
  while (value < uneven) {
    value = next();
  }
  return value % bound;
}

SplitMix64 epoch_random(uint64_t seed, int64_t epoch) {
  // Two rounds, so that seed 1 in epoch 2 has nothing in common with seed 2 in epoch 1.
  SplitMix64 random(SplitMix64(seed).next() ^ static_cast<uint64_t>(epoch));
  return SplitMix64(random.next());
}

}  // namespace evenkeel::examples
