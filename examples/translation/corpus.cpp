// SPDX-License-Identifier: MIT
#include "corpus.hpp"

#include "common/text.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace evenkeel::examples::translation {

Corpus::Corpus(const std::vector<std::string>& source, const std::vector<std::string>& target) {
  if (source.empty()) return;
  text = read_parallel(source, target);
  drop_empty_pairs(text);
}

void Corpus::encode(const Vocabularies& vocabularies, int64_t max_length) {
  pairs.reserve(text.source.size());
  for (std::size_t i = 0; i < text.source.size(); ++i) {
    pairs.push_back({vocabularies.source.encode(enough_of(text.source[i], max_length)),
                     vocabularies.target.encode(enough_of(text.target[i], max_length))});
  }
}

int64_t Corpus::drop_longer_than(int64_t max_length) {
  const auto longest = static_cast<std::size_t>(max_length - 1);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (std::max(pairs[i].source.size(), pairs[i].target.size()) > longest) continue;
    std::swap(text.source[kept], text.source[i]);
    std::swap(text.target[kept], text.target[i]);
    std::swap(pairs[kept], pairs[i]);
    ++kept;
  }
  const auto dropped = static_cast<int64_t>(pairs.size() - kept);
  text.source.resize(kept);
  text.target.resize(kept);
  pairs.resize(kept);
  return dropped;
}

std::string_view enough_of(std::string_view line, int64_t max_length) {
  constexpr std::size_t kLongestPiece = 256;  // bytes: SentencePiece's default is 16 characters
  return utf8_prefix(line, static_cast<std::size_t>(max_length + 1) * kLongestPiece);
}

}  // namespace evenkeel::examples::translation
