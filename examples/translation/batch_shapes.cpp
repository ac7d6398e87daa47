// SPDX-License-Identifier: MIT
#include "batch_shapes.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>
#include <utility>

namespace evenkeel::examples::translation {
namespace {

// Lengths that shapes may have, for one side of the text: its quantiles, and the greatest.
std::vector<int64_t> quantiles(std::vector<int64_t> lengths) {
  constexpr size_t kMost = 40;
  std::sort(lengths.begin(), lengths.end());
  std::vector<int64_t> found;
  for (size_t i = 1; i <= kMost; ++i) {
    const auto length = lengths[(lengths.size() * i - 1) / kMost];
    if (found.empty() || found.back() != length) found.push_back(length);
  }
  return found;
}

int64_t rounded_up(int64_t length, const std::vector<int64_t>& to) {
  return *std::lower_bound(to.begin(), to.end(), length);
}

}  // namespace

// Greedily: the shape that saves most padding is added next.
std::vector<BatchShape> choose_shapes(const std::vector<RowLengths>& pairs,
                                      int64_t count,
                                      int64_t batch_tokens) {
  if (pairs.empty()) return {};
  std::vector<int64_t> sources;
  std::vector<int64_t> targets;
  sources.reserve(pairs.size());
  targets.reserve(pairs.size());
  int64_t entries = 0;
  for (const auto& lengths : pairs) {
    sources.push_back(lengths.source);
    targets.push_back(lengths.target);
    entries += std::max(lengths.source, lengths.target);
  }
  constexpr int64_t kBatchesAShape = 2;
  count = std::clamp<int64_t>(entries / (kBatchesAShape * batch_tokens), 1, count);

  const auto source_cuts = quantiles(std::move(sources));
  const auto target_cuts = quantiles(std::move(targets));
  std::vector<BatchShape> candidates;
  candidates.reserve(source_cuts.size() * target_cuts.size());
  for (const auto source : source_cuts) {
    for (const auto target : target_cuts) {
      const auto rows = std::max<int64_t>(batch_tokens / std::max(source, target), 1);
      candidates.push_back({rows, source, target});
    }
  }
  std::map<std::pair<int64_t, int64_t>, int64_t> counts;
  for (const auto& lengths : pairs) {
    ++counts[{rounded_up(lengths.source, source_cuts), rounded_up(lengths.target, target_cuts)}];
  }
  struct Cell {
    RowLengths lengths;
    int64_t pairs;
    int64_t entries;  // of a row, in the best shape so far
  };
  std::vector<Cell> cells;
  cells.reserve(counts.size());
  for (const auto& [lengths, number] : counts) {
    cells.push_back({{lengths.first, lengths.second}, number, candidates.back().entries()});
  }

  std::vector<BatchShape> chosen{candidates.back()};
  while (static_cast<int64_t>(chosen.size()) < count) {
    int64_t most = 0;
    const BatchShape* best = nullptr;
    for (const auto& shape : candidates) {
      int64_t saved = 0;
      for (const auto& cell : cells) {
        if (!shape.holds(cell.lengths)) continue;
        saved += cell.pairs * std::max<int64_t>(cell.entries - shape.entries(), 0);
      }
      if (saved > most) {
        most = saved;
        best = &shape;
      }
    }
    if (best == nullptr) break;
    for (auto& cell : cells) {
      if (best->holds(cell.lengths)) cell.entries = std::min(cell.entries, best->entries());
    }
    chosen.push_back(*best);
  }
  std::stable_sort(chosen.begin(), chosen.end(), [](const auto& a, const auto& b) {
    return a.entries() < b.entries();
  });
  return chosen;
}

}  // namespace evenkeel::examples::translation
