// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace evenkeel::detail {

/// 64 random bits, a function of `counter` alone: SplitMix64's output function.
/// Paper: Steele et al. 2014, https://doi.org/10.1145/2660193.2660195.
inline uint64_t random_bits(uint64_t counter) {
  uint64_t z = counter * 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

/// Adds +-magnitude to every element of a contiguous CPU tensor, each sign as likely. One draw
/// gives 64 signs, eight at a time out of a table, which costs a fraction of drawing as many
/// numbers; the result depends on `stream` alone, not on how many threads share the work.
inline void add_random_signs(torch::Tensor& tensor, double magnitude, uint64_t stream) {
  constexpr int64_t kBlock = 64, kByte = 8;
  const int64_t size = tensor.numel();
  const uint64_t first = random_bits(stream + 1);
  AT_DISPATCH_FLOATING_TYPES_AND2(
      torch::kHalf,
      torch::kBFloat16,
      tensor.scalar_type(),
      "add_random_signs",
      [&] {
        std::array<std::array<scalar_t, kByte>, 256> steps;  // of the eight bits of a byte
        for (size_t byte = 0; byte < steps.size(); ++byte) {
          for (size_t bit = 0; bit < kByte; ++bit) {
            steps[byte][bit] = static_cast<scalar_t>((byte >> bit) & 1U ? magnitude : -magnitude);
          }
        }
        auto* data = tensor.data_ptr<scalar_t>();
        const int64_t blocks = (size + kBlock - 1) / kBlock;
        at::parallel_for(0, blocks, 1024, [&](int64_t begin, int64_t end) {
          for (int64_t block = begin; block < end; ++block) {
            uint64_t bits = random_bits(first + static_cast<uint64_t>(block));
            int64_t i = block * kBlock;
            const int64_t last = std::min(size, i + kBlock);
            for (; i + kByte <= last; i += kByte, bits >>= kByte) {
              const auto step = steps[bits & 0xFFU];  // a copy: the compiler sees no aliasing
              for (int64_t j = 0; j < kByte; ++j) data[i + j] += step[static_cast<size_t>(j)];
            }
            const auto& step = steps[bits & 0xFFU];
            for (int64_t j = 0; i + j < last; ++j) data[i + j] += step[static_cast<size_t>(j)];
          }
        });
      });
}

}  // namespace evenkeel::detail
