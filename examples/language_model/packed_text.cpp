// SPDX-License-Identifier: MIT
#include "packed_text.hpp"

#include "common/random.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

namespace evenkeel::examples::language_model {

PackedText::PackedText(const std::vector<int64_t>& tokens, int64_t length)
    : tokens_(tokens.begin(), tokens.end()), length_(length) {
  if (length >= 1) return;
  throw std::invalid_argument("PackedText: expected a length of at least 1, but got " +
                              std::to_string(length));
}

int64_t PackedText::size() const {
  return std::max<int64_t>(tokens() - 1, 0) / length_;
}

std::vector<int64_t> PackedText::rows(const std::vector<int64_t>& sequences) const {
  std::vector<int64_t> result;
  result.reserve(sequences.size() * static_cast<size_t>(length_ + 1));
  for (const auto sequence : sequences) {
    if (sequence < 0 || sequence >= size()) {
      throw std::out_of_range("PackedText: expected sequences from 0 to " +
                              std::to_string(size() - 1) + ", but got " + std::to_string(sequence));
    }
    const auto begin = tokens_.begin() + static_cast<std::ptrdiff_t>(sequence * length_);
    result.insert(result.end(), begin, begin + static_cast<std::ptrdiff_t>(length_ + 1));
  }
  return result;
}

std::vector<std::vector<int64_t>> PackedText::epoch(int64_t index,
                                                    int64_t batch_size,
                                                    uint64_t seed) const {
  auto random = epoch_random(seed, index);
  std::vector<int64_t> order(static_cast<size_t>(size()));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[static_cast<size_t>(random.below(i))]);
  }
  std::vector<std::vector<int64_t>> batches;
  for (size_t i = 0; i < order.size(); i += static_cast<size_t>(batch_size)) {
    const auto end = std::min(order.size(), i + static_cast<size_t>(batch_size));
    batches.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(i),
                         order.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return batches;
}

}  // namespace evenkeel::examples::language_model
