// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace evenkeel::examples::translation {

/// Up to kMaxOrder tokens; behind fewer of them stands -1.
template <std::size_t kMaxOrder>
using NGram = std::array<int64_t, kMaxOrder>;

/// All n-grams of that order, sorted.
template <std::size_t kMaxOrder, typename Token>
std::vector<NGram<kMaxOrder>> sorted_ngrams(const std::vector<Token>& tokens, std::size_t order) {
  std::vector<NGram<kMaxOrder>> ngrams;
  for (std::size_t i = 0; i + order <= tokens.size(); ++i) {
    NGram<kMaxOrder> ngram;
    ngram.fill(-1);
    for (std::size_t k = 0; k < order; ++k) {
      ngram[k] = static_cast<int64_t>(tokens[i + k]);
    }
    ngrams.push_back(ngram);
  }
  std::sort(ngrams.begin(), ngrams.end());
  return ngrams;
}

/// How many n-grams two sorted lists have in common, each as often as both have it.
template <std::size_t kMaxOrder>
int64_t count_common(const std::vector<NGram<kMaxOrder>>& a,
                     const std::vector<NGram<kMaxOrder>>& b) {
  int64_t common = 0;
  for (auto i = a.begin(), k = b.begin(); i != a.end() && k != b.end();) {
    if (*i < *k) {
      ++i;
    } else if (*k < *i) {
      ++k;
    } else {
      ++common;
      ++i;
      ++k;
    }
  }
  return common;
}

}  // namespace evenkeel::examples::translation
