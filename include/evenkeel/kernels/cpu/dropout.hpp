// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cpu/lanes.hpp>

#include <cstdint>
#include <cstring>

namespace evenkeel::detail::cpu {

/// A dropout whose mask is a function of the seed, row and column alone, so that backward draws it
/// again.
struct Dropout {
  uint64_t seed = 0;
  uint32_t threshold = 0;  ///< Of 65536: how many of the 16-bit draws drop an element.
  float scale = 1.0F;      ///< Of what is kept.
};

/// Threefry 4x32: N counters at once, each four words. Only additions, rotations and exclusive ors,
/// which every set of instructions has for whole vectors; 12 rounds pass BigCrush.
/// Paper: Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405.
template <typename L, int kRounds = 12>
EVENKEEL_ALWAYS_INLINE inline void threefry(typename L::U (&words)[4], const uint32_t (&key)[4]) {
  constexpr int kRotations[8][2] =
      {{10, 26}, {11, 21}, {13, 27}, {23, 5}, {6, 20}, {17, 11}, {25, 10}, {18, 20}};
  const uint32_t keys[5] = {key[0],
                            key[1],
                            key[2],
                            key[3],
                            0x1BD11BDAU ^ key[0] ^ key[1] ^ key[2] ^ key[3]};
  for (int i = 0; i < 4; ++i) words[i] += keys[i];
#if defined(__GNUC__)
#pragma GCC unroll 20
#endif
  for (int round = 0; round < kRounds; ++round) {
    const int* rotation = kRotations[round % 8];
    const int second = round % 2 == 0 ? 1 : 3;
    const int fourth = 4 - second;
    words[0] += words[second];
    words[second] = (words[second] << rotation[0]) | (words[second] >> (32 - rotation[0]));
    words[second] ^= words[0];
    words[2] += words[fourth];
    words[fourth] = (words[fourth] << rotation[1]) | (words[fourth] >> (32 - rotation[1]));
    words[fourth] ^= words[2];
    if (round % 4 == 3) {
      const int turn = round / 4 + 1;
      for (int i = 0; i < 4; ++i) words[i] += keys[(i + turn) % 5];
      words[3] += static_cast<uint32_t>(turn);
    }
  }
}

constexpr int64_t kDropoutBlock = 128;  // columns: 16 counters, each with 8 draws of 16 bits

/// What each element of a row is multiplied by: 0 or `scale`. Writes whole blocks of columns. The
/// mask is the same for every N.
template <int N>
EVENKEEL_ALWAYS_INLINE inline void dropout_row(const Dropout& dropout,
                                               int64_t row,
                                               int64_t dim,
                                               float* factors) {
  constexpr int64_t kCounters = 16;
  using L = Lanes<N>;
  const auto number = static_cast<uint64_t>(row);
  const uint32_t key[4] = {static_cast<uint32_t>(dropout.seed),
                           static_cast<uint32_t>(dropout.seed >> 32),
                           0,
                           0};
  uint32_t scale = 0;
  std::memcpy(&scale, &dropout.scale, sizeof(scale));
  for (int64_t block = 0; block * kDropoutBlock < dim; ++block) {
    for (int64_t first = 0; first < kCounters; first += N) {
      typename L::U words[4];
      L::count(words[0], static_cast<uint32_t>(block * kCounters + first), 1);
      L::count(words[1], static_cast<uint32_t>(number), 0);
      L::count(words[2], static_cast<uint32_t>(number >> 32), 0);
      L::count(words[3], 0, 0);
      threefry<L>(words, key);
      for (int64_t draw = 0; draw < 8; ++draw) {
        const typename L::U bits = (words[draw / 2] >> (16 * (draw % 2))) & 0xffffU;
        typename L::U dropped;
        mask_below<L>(dropped, bits, dropout.threshold);
        typename L::F factor;
        from_bits<L>(factor, scale & ~dropped);
        L::at(factors + block * kDropoutBlock + draw * kCounters + first).v = factor;
      }
    }
  }
}

}  // namespace evenkeel::detail::cpu
