// SPDX-License-Identifier: MIT
#include "words.hpp"

#include "common/text.hpp"

#include <algorithm>
#include <cstddef>

namespace evenkeel::examples::translation {

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto space = leading_space(text.substr(i));
    if (space == 0) {
      ++i;
      continue;
    }
    if (i > start) {
      words.push_back(text.substr(start, i - start));
    }
    i += space;
    start = i;
  }
  if (start < text.size()) {
    words.push_back(text.substr(start));
  }
  return words;
}

std::string_view without_trailing_space(std::string_view text) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto space = leading_space(text.substr(i));
    i += std::max<std::size_t>(space, 1);
    end = space == 0 ? i : end;
  }
  return text.substr(0, end);
}

std::vector<char32_t> code_points(std::string_view text) {
  std::vector<char32_t> found;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      found.push_back(byte);
    } else if (byte >= 0xC0) {  // the first byte has the highest bits, and says how many follow
      found.push_back(byte & (byte >= 0xF0 ? 0x07U : byte >= 0xE0 ? 0x0FU : 0x1FU));
    } else if (!found.empty()) {
      found.back() = found.back() << 6 | (byte & 0x3FU);
    }
  }
  return found;
}

std::vector<int64_t> WordNumbers::operator()(const std::vector<std::string_view>& words) {
  std::vector<int64_t> numbers;
  for (const auto word : words) {
    const auto next = static_cast<int64_t>(numbers_.size());
    numbers.push_back(numbers_.emplace(word, next).first->second);
  }
  return numbers;
}

}  // namespace evenkeel::examples::translation
