// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace evenkeel::examples::translation {

/// The words of a text: what stands between white space, as in Python's str.split().
std::vector<std::string_view> split_words(std::string_view text);

/// The text up to its last character that is no white space, as Python's str.rstrip() has it.
std::string_view without_trailing_space(std::string_view text);

/// The code points of UTF-8.
std::vector<char32_t> code_points(std::string_view text);

/// Numbers for words: equal words have equal numbers, from 0.
class WordNumbers {
 public:
  std::vector<int64_t> operator()(const std::vector<std::string_view>& words);

 private:
  std::unordered_map<std::string, int64_t> numbers_;
};

}  // namespace evenkeel::examples::translation
