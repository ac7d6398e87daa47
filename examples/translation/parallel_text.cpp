// SPDX-License-Identifier: MIT
#include "parallel_text.hpp"

#include "common/text.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace evenkeel::examples::translation {
namespace {

std::string count_of(std::size_t count, const char* noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

bool is_blank(std::string_view line) {
  while (!line.empty()) {
    const auto space = leading_space(line);
    if (space == 0) {
      return false;
    }
    line.remove_prefix(space);
  }
  return true;
}

void append(std::vector<std::string>& to, std::vector<std::string>&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

// Both sides from one file, a line each with a tab between.
void append_tsv(ParallelText& text, const std::string& file) {
  std::size_t number = 0;
  for (const auto& line : read_lines(file)) {
    ++number;
    const auto tab = line.find('\t');
    if (tab == std::string::npos || line.find('\t', tab + 1) != std::string::npos) {
      const auto tabs = static_cast<std::size_t>(std::count(line.begin(), line.end(), '\t'));
      throw TextError(file + ":" + std::to_string(number) +
                      ": expected a source and a target with one tab between, since no file of "
                      "targets is named, but got " +
                      count_of(tabs, "tab"));
    }
    text.source.push_back(line.substr(0, tab));
    text.target.push_back(line.substr(tab + 1));
  }
}

}  // namespace

ParallelText read_parallel(const std::vector<std::string>& source_files,
                           const std::vector<std::string>& target_files) {
  ParallelText text;
  if (target_files.empty() && !source_files.empty()) {
    for (const auto& file : source_files) {
      append_tsv(text, file);
    }
    return text;
  }
  if (source_files.empty() || source_files.size() != target_files.size()) {
    throw TextError(
        "read_parallel: expected as many source as target files, at least one, but got " +
        std::to_string(source_files.size()) + " and " + std::to_string(target_files.size()));
  }
  for (std::size_t i = 0; i < source_files.size(); ++i) {
    auto source = read_lines(source_files[i]);
    auto target = read_lines(target_files[i]);
    if (source.size() != target.size()) {
      throw TextError(source_files[i] + " has " + count_of(source.size(), "line") + ", but " +
                      target_files[i] + " has " + count_of(target.size(), "line"));
    }
    append(text.source, std::move(source));
    append(text.target, std::move(target));
  }
  return text;
}

int64_t drop_empty_pairs(ParallelText& text) {
  if (text.source.size() != text.target.size()) {
    throw std::invalid_argument("drop_empty_pairs: expected sides of equal size, but got " +
                                std::to_string(text.source.size()) + " and " +
                                std::to_string(text.target.size()));
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < text.source.size(); ++i) {
    if (is_blank(text.source[i]) || is_blank(text.target[i])) {
      continue;
    }
    if (kept != i) {
      text.source[kept] = std::move(text.source[i]);
      text.target[kept] = std::move(text.target[i]);
    }
    ++kept;
  }
  const auto dropped = static_cast<int64_t>(text.source.size() - kept);
  text.source.resize(kept);
  text.target.resize(kept);
  return dropped;
}

}  // namespace evenkeel::examples::translation
