// SPDX-License-Identifier: MIT
#include "ter.hpp"

#include "check_counts.hpp"
#include "lower_case.hpp"
#include "words.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <tuple>
#include <utility>

namespace evenkeel::examples::translation {

namespace {

using Words = std::vector<int64_t>;

constexpr int kLongestShift = 10;
constexpr int kFarthestShift = 50;
constexpr int kMostCandidates = 1000;
constexpr int kBeam = 25;

enum class Edit : char { kNone, kSubstitute, kDelete, kInsert };

// The matrix of edit distances from the beginnings of a hypothesis to those of its reference.
class EditDistance {
 public:
  explicit EditDistance(const Words& reference)
      : reference_(reference), columns_(static_cast<int>(reference.size()) + 1) {}

  // Edits that make the reference of a hypothesis.
  int operator()(const Words& hypothesis) {
    const auto rows = static_cast<int>(hypothesis.size()) + 1;
    constexpr int kFar = 1 << 30;
    cells_.assign(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns_),
                  {kFar, Edit::kNone});
    for (int j = 0; j < columns_; ++j) at(0, j) = {j, Edit::kInsert};
    const double slope = rows > 1 ? static_cast<double>(columns_ - 1) / (rows - 1) : 1.0;
    const int beam = kBeam < slope / 2 ? static_cast<int>(std::ceil(slope / 2 + kBeam)) : kBeam;
    for (int i = 1; i < rows; ++i) {
      const int diagonal = static_cast<int>(std::floor(i * slope));
      const int end = i == rows - 1 ? columns_ : std::min(columns_, diagonal + beam);
      for (int j = std::max(0, diagonal - beam); j < end; ++j) {
        const auto better = [&](int edits, Edit edit) {
          if (edits < at(i, j).first) at(i, j) = {edits, edit};
        };
        if (j > 0) {
          const bool same = word(hypothesis, i) == word(reference_, j);
          better(at(i - 1, j - 1).first + (same ? 0 : 1), same ? Edit::kNone : Edit::kSubstitute);
        }
        better(at(i - 1, j).first + 1, Edit::kDelete);
        if (j > 0) better(at(i, j - 1).first + 1, Edit::kInsert);
      }
    }
    return at(rows - 1, columns_ - 1).first;
  }

  // Where the last hypothesis goes wrong, and which of its words stands for each of the reference.
  struct Alignment {
    std::vector<bool> wrong;            // by word of the hypothesis
    std::vector<bool> reference_wrong;  // by word of the reference
    std::vector<int> aligned;           // likewise: the last word of the hypothesis up to it, or -1
  };

  Alignment alignment(std::size_t hypothesis_size) {
    auto i = static_cast<int>(hypothesis_size);
    int j = columns_ - 1;
    Alignment found{std::vector<bool>(hypothesis_size, true),
                    std::vector<bool>(reference_.size(), true),
                    std::vector<int>(reference_.size(), -1)};
    while (i > 0 || j > 0) {
      const auto edit = at(i, j).second;
      if (edit != Edit::kDelete) found.aligned[static_cast<std::size_t>(j) - 1] = i - 1;
      if (edit == Edit::kNone) {
        found.wrong[static_cast<std::size_t>(i) - 1] = false;
        found.reference_wrong[static_cast<std::size_t>(j) - 1] = false;
      }
      if (edit != Edit::kInsert) --i;
      if (edit != Edit::kDelete) --j;
    }
    return found;
  }

 private:
  std::pair<int, Edit>& at(int i, int j) {
    return cells_[static_cast<std::size_t>(i) * static_cast<std::size_t>(columns_) +
                  static_cast<std::size_t>(j)];
  }
  static int64_t word(const Words& words, int number) {
    return words[static_cast<std::size_t>(number) - 1];
  }

  const Words& reference_;
  int columns_;
  std::vector<std::pair<int, Edit>> cells_;
};

// `words` with `length` of them moved from `start` to before `target`.
Words shifted(const Words& words, int start, int length, int target) {
  auto moved = words;
  const auto begin = moved.begin();
  if (target < start) {
    std::rotate(begin + target, begin + start, begin + start + length);
  } else {
    // a target within what is moved is so many words behind it
    const auto size = static_cast<int>(words.size());
    const int end = target > start + length ? target : std::min(size, target + length);
    std::rotate(begin + start, begin + start + length, begin + end);
  }
  return moved;
}

bool any(const std::vector<bool>& of, int start, int length) {
  return std::find(of.begin() + start, of.begin() + start + length, true) !=
         of.begin() + start + length;
}

// The shift that saves most edits.
struct Shift {
  int saves = 0;
  Words words;
};

Shift best_shift(const Words& words,
                 const Words& reference,
                 EditDistance& distance,
                 int& candidates) {
  const int before = distance(words);
  const auto alignment = distance.alignment(words.size());
  const auto& aligned = alignment.aligned;
  const auto size = static_cast<int>(words.size());
  const auto reference_size = static_cast<int>(reference.size());
  const auto same = [&](int i, int j) {
    return words[static_cast<std::size_t>(i)] == reference[static_cast<std::size_t>(j)];
  };
  Shift best;
  using Rank = std::tuple<int, int, int, int>;
  bool any_yet = false;
  Rank best_rank;
  // Returns whether there may be more candidates.
  const auto try_shift = [&](int start, int to, int length) {
    if (!any(alignment.wrong, start, length) || !any(alignment.reference_wrong, to, length))
      return true;
    const int now = aligned[static_cast<std::size_t>(to)];
    if (start <= now && now < start + length) return true;
    int tried = -1;
    for (int offset = -1; offset < length; ++offset) {
      const int at = to + offset;
      const int target = at < 0 ? 0 : aligned[static_cast<std::size_t>(at)] + 1;
      if (target == tried) continue;
      tried = target;
      auto moved = shifted(words, start, length, target);
      const Rank rank{before - distance(moved), length, -start, -target};
      ++candidates;
      if (any_yet && rank <= best_rank) continue;
      any_yet = true;
      best_rank = rank;
      best = {std::get<0>(rank), std::move(moved)};
    }
    return candidates < kMostCandidates;
  };
  for (int start = 0; start < size; ++start) {
    for (int to = 0; to < reference_size; ++to) {
      if (std::abs(to - start) > kFarthestShift) continue;
      for (int length = 1;
           length <= kLongestShift && start + length <= size && to + length <= reference_size &&
           same(start + length - 1, to + length - 1);
           ++length) {
        if (!try_shift(start, to, length)) return best;
      }
    }
  }
  return best;
}

int64_t edits_of(Words hypothesis, const Words& reference) {
  if (reference.empty()) return static_cast<int64_t>(hypothesis.size());
  EditDistance distance(reference);
  int64_t shifts = 0;
  for (int candidates = 0;; ++shifts) {
    auto shift = best_shift(hypothesis, reference, distance, candidates);
    if (candidates >= kMostCandidates || shift.saves <= 0) break;
    hypothesis = std::move(shift.words);
  }
  return shifts + distance(hypothesis);
}

}  // namespace

Ter corpus_ter(const std::vector<std::string>& hypotheses,
               const std::vector<std::string>& references) {
  check_counts("corpus_ter", hypotheses, references);
  Ter ter;
  WordNumbers numbers;
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    const auto found = lower_case(hypotheses[i]);
    const auto expected = lower_case(references[i]);
    const auto reference = numbers(split_words(expected));
    ter.edits += edits_of(numbers(split_words(found)), reference);
    ter.reference_length += static_cast<int64_t>(reference.size());
  }
  if (ter.reference_length > 0) {
    ter.score = 100.0 * static_cast<double>(ter.edits) / static_cast<double>(ter.reference_length);
  } else if (ter.edits > 0) {
    ter.score = 100.0;
  }
  return ter;
}

}  // namespace evenkeel::examples::translation
