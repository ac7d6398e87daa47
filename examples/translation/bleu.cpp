// SPDX-License-Identifier: MIT
#include "bleu.hpp"

#include "check_counts.hpp"
#include "ngrams.hpp"
#include "words.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iomanip>
#include <locale>
#include <sstream>
#include <utility>

namespace evenkeel::examples::translation {
namespace {

constexpr std::size_t kMaxOrder = 4;

// The rules below work on bytes rather than characters: they distinguish only ASCII characters, and
// no byte of a longer UTF-8 sequence is one.

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_point(char c) {
  return c == '.' || c == ',';
}

// ASCII punctuation and the space, but not ' , - .
bool stands_alone(char c) {
  return (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') || c == '/' || (c >= ':' && c <= '@') ||
         (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  auto found = text.find(from);
  if (found == std::string::npos) {
    return;
  }
  std::string result;
  std::size_t done = 0;
  for (; found != std::string::npos; found = text.find(from, done)) {
    result.append(text, done, found - done).append(to);
    done = found + from.size();
  }
  result.append(text, done);
  text = std::move(result);
}

// Rewrites every two adjacent characters that `matches` accepts. Like those of regular expressions,
// matches do not overlap: in ".,." only the first two match.
template <typename Matches>
std::string rewrite_neighbours(const std::string& text,
                               const Matches& matches,
                               std::string_view before,
                               std::string_view between,
                               std::string_view after) {
  std::string result;
  result.reserve(text.size() + text.size() / 2);
  std::size_t i = 0;
  while (i < text.size()) {
    if (i + 1 < text.size() && matches(text[i], text[i + 1])) {
      result.append(before).append(1, text[i]).append(between).append(1, text[i + 1]).append(after);
      i += 2;
    } else {
      result.push_back(text[i++]);
    }
  }
  return result;
}

// The numbers of a line's tokens. sacreBLEU strips first, so that the rule for "-\n" does not apply
// to a hyphen at the end of the line.
std::vector<int64_t> numbers_of(WordNumbers& numbers, std::string_view line) {
  const std::string tokens = tokenize_13a(without_trailing_space(line));
  return numbers(split_words(tokens));
}

// Computes score, precisions and penalty from the counts.
void finish(Bleu& bleu) {
  const auto hypothesis_length = static_cast<double>(bleu.hypothesis_length);
  const auto reference_length = static_cast<double>(bleu.reference_length);
  if (bleu.hypothesis_length < bleu.reference_length) {
    bleu.brevity_penalty =
        bleu.hypothesis_length > 0 ? std::exp(1.0 - reference_length / hypothesis_length) : 0.0;
  }
  const auto none = [](int64_t count) { return count == 0; };
  if (std::all_of(bleu.counts.begin(), bleu.counts.end(), none)) {
    return;
  }
  double matches_if_none = 1.0;
  double log_sum = 0.0;
  for (std::size_t n = 0; n < kMaxOrder; ++n) {
    if (bleu.totals[n] == 0) {
      return;  // no hypothesis is that long: precision 0, and with it the score
    }
    const auto total = static_cast<double>(bleu.totals[n]);
    if (bleu.counts[n] == 0) {
      matches_if_none /= 2.0;
      bleu.precisions[n] = 100.0 * matches_if_none / total;
    } else {
      bleu.precisions[n] = 100.0 * static_cast<double>(bleu.counts[n]) / total;
    }
    log_sum += std::log(bleu.precisions[n]);
  }
  bleu.score = bleu.brevity_penalty * std::exp(log_sum / static_cast<double>(kMaxOrder));
}

}  // namespace

std::string tokenize_13a(std::string_view line) {
  std::string text(line);
  replace_all(text, "<skipped>", "");
  replace_all(text, "-\n", "");
  replace_all(text, "\n", " ");
  replace_all(text, "&quot;", "\"");
  replace_all(text, "&amp;", "&");  // before the next two: &amp;lt; ends up as <
  replace_all(text, "&lt;", "<");
  replace_all(text, "&gt;", ">");

  std::string spaced = " ";
  for (const char c : text) {
    if (stands_alone(c)) {
      spaced.append(1, ' ').append(1, c).append(1, ' ');
    } else {
      spaced.push_back(c);
    }
  }
  spaced.push_back(' ');

  const auto point_after_other = [](char a, char b) { return !is_digit(a) && is_point(b); };
  const auto point_before_other = [](char a, char b) { return is_point(a) && !is_digit(b); };
  const auto hyphen_after_digit = [](char a, char b) { return is_digit(a) && b == '-'; };
  spaced = rewrite_neighbours(spaced, point_after_other, "", " ", " ");
  spaced = rewrite_neighbours(spaced, point_before_other, " ", " ", "");
  spaced = rewrite_neighbours(spaced, hyphen_after_digit, "", " ", " ");

  std::string result;
  for (const auto word : split_words(spaced)) {
    result.append(result.empty() ? "" : " ").append(word);
  }
  return result;
}

Bleu corpus_bleu(const std::vector<std::string>& hypotheses,
                 const std::vector<std::string>& references) {
  check_counts("corpus_bleu", hypotheses, references);
  Bleu bleu;
  WordNumbers numbers;
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    const auto hypothesis = numbers_of(numbers, hypotheses[i]);
    const auto reference = numbers_of(numbers, references[i]);
    bleu.hypothesis_length += static_cast<int64_t>(hypothesis.size());
    bleu.reference_length += static_cast<int64_t>(reference.size());
    for (std::size_t order = 1; order <= kMaxOrder; ++order) {
      const auto ngrams = sorted_ngrams<kMaxOrder>(hypothesis, order);
      bleu.totals[order - 1] += static_cast<int64_t>(ngrams.size());
      bleu.counts[order - 1] +=
          count_common<kMaxOrder>(ngrams, sorted_ngrams<kMaxOrder>(reference, order));
    }
  }
  finish(bleu);
  return bleu;
}

std::string to_string(const Bleu& bleu) {
  const double ratio = bleu.reference_length > 0 ? static_cast<double>(bleu.hypothesis_length) /
                                                       static_cast<double>(bleu.reference_length)
                                                 : 0.0;
  std::ostringstream line;
  line.imbue(std::locale::classic());
  line << std::fixed << std::setprecision(2) << "BLEU = " << bleu.score << std::setprecision(1);
  for (std::size_t n = 0; n < kMaxOrder; ++n) {
    line << (n == 0 ? ' ' : '/') << bleu.precisions[n];
  }
  line << std::setprecision(3) << " (BP = " << bleu.brevity_penalty << " ratio = " << ratio
       << " hyp_len = " << bleu.hypothesis_length << " ref_len = " << bleu.reference_length << ')';
  return line.str();
}

}  // namespace evenkeel::examples::translation
