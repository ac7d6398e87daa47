// SPDX-License-Identifier: MIT
#include "batches.hpp"

#include "common/random.hpp"
#include "common/vocabulary.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

namespace evenkeel::examples::translation {
namespace {

// The sort key of a pair within an epoch: neighbours share batches.
//
// The length of the longer side comes first, because it decides how many rows fit into a batch.
// Then comes how much shorter the other side is, alternately ascending and descending, so that the
// step to the next length is small. Both are randomised a little, so that the batches differ from
// epoch to epoch.
struct Place {
  int64_t longer;
  int64_t difference;
  uint64_t chance = 0;
  int64_t pair;

  Place(int64_t source_length, int64_t target_length, SplitMix64& random, int64_t pair_)
      : longer(std::max(source_length, target_length)),
        difference(source_length - target_length),
        pair(pair_) {
    longer += random.below(16) == 0 ? 1 : 0;
    difference += static_cast<int64_t>(random.below(2));
    difference = longer % 2 == 0 ? difference : -difference;
    chance = random.next();
  }

  bool operator<(const Place& other) const {
    return std::tie(longer, difference, chance, pair) <
           std::tie(other.longer, other.difference, other.chance, other.pair);
  }
};

// Copies ids into a row, with bos before or eos after them.
void fill_row(int64_t* row, int64_t first, const std::vector<int64_t>& ids, int64_t last) {
  if (first != kPad) {
    *row++ = first;
  }
  row = std::copy(ids.begin(), ids.end(), row);
  if (last != kPad) {
    *row = last;
  }
}

int64_t row_length(const std::vector<int64_t>& ids) {
  return static_cast<int64_t>(ids.size()) + 1;
}

// Of all entries, those that are no tokens.
double share_of_padding(int64_t tokens, int64_t entries) {
  return entries == 0 ? 0.0 : 1.0 - static_cast<double>(tokens) / static_cast<double>(entries);
}

template <typename T>
void shuffle(std::vector<T>& items, SplitMix64& random) {
  for (std::size_t i = items.size(); i > 1; --i) {
    std::swap(items[i - 1], items[static_cast<std::size_t>(random.below(i))]);
  }
}

}  // namespace

Batch make_batch(const std::vector<Pair>& pairs,
                 const std::vector<int64_t>& indices,
                 const BatchShape& least) {
  if (indices.empty()) {
    throw std::invalid_argument("make_batch: expected at least one index, but got none");
  }
  Batch batch;
  const auto sentences = static_cast<int64_t>(indices.size());
  batch.sentences = std::max(sentences, least.rows);
  batch.source_length = least.source_length;
  batch.target_length = least.target_length;
  for (const auto index : indices) {
    if (index < 0 || index >= static_cast<int64_t>(pairs.size())) {
      throw std::out_of_range("make_batch: expected indices from 0 to " +
                              std::to_string(static_cast<int64_t>(pairs.size()) - 1) +
                              ", but got " + std::to_string(index));
    }
    const auto& pair = pairs[static_cast<std::size_t>(index)];
    batch.source_length = std::max(batch.source_length, row_length(pair.source));
    batch.target_length = std::max(batch.target_length, row_length(pair.target));
    batch.source_tokens += row_length(pair.source);
    batch.target_tokens += row_length(pair.target);
  }
  batch.source.assign(static_cast<std::size_t>(batch.sentences * batch.source_length), kPad);
  batch.target_input.assign(static_cast<std::size_t>(batch.sentences * batch.target_length), kPad);
  batch.target_output = batch.target_input;
  for (int64_t i = 0; i < sentences; ++i) {
    const auto& pair = pairs[static_cast<std::size_t>(indices[static_cast<std::size_t>(i)])];
    fill_row(batch.source.data() + i * batch.source_length, kPad, pair.source, kEos);
    fill_row(batch.target_input.data() + i * batch.target_length, kBos, pair.target, kPad);
    fill_row(batch.target_output.data() + i * batch.target_length, kPad, pair.target, kEos);
  }
  for (int64_t i = sentences; i < batch.sentences; ++i) {
    fill_row(batch.source.data() + i * batch.source_length, kPad, {}, kEos);
    fill_row(batch.target_input.data() + i * batch.target_length, kBos, {}, kPad);
  }
  return batch;
}

BatchSchedule::BatchSchedule(const std::vector<Pair>& pairs, const BatchOptions& options)
    : options_(options) {
  if (options.batch_tokens < 1 || options.max_length < 1) {
    throw std::invalid_argument(
        "BatchSchedule: expected batch_tokens and max_length of at least 1, but got " +
        std::to_string(options.batch_tokens) + " and " + std::to_string(options.max_length));
  }
  for (const auto& pair : pairs) {
    const RowLengths lengths{row_length(pair.source), row_length(pair.target)};
    if (std::max(lengths.source, lengths.target) <= options.max_length) {
      kept_.push_back(static_cast<int64_t>(lengths_.size()));
    }
    lengths_.push_back(lengths);
  }
  if (kept_.empty()) {
    throw std::invalid_argument("BatchSchedule: no pair is left of " +
                                std::to_string(pairs.size()) + " with max_length " +
                                std::to_string(options.max_length));
  }
  if (options.shapes == 0) return;
  std::vector<RowLengths> lengths;
  lengths.reserve(kept_.size());
  for (const auto pair : kept_) lengths.push_back(lengths_[static_cast<std::size_t>(pair)]);
  shapes_ = choose_shapes(lengths, options.shapes, options.batch_tokens);
}

std::vector<std::vector<int64_t>> BatchSchedule::epoch(int64_t index) const {
  if (index < 0) {
    throw std::invalid_argument("BatchSchedule: expected an epoch of at least 0, but got " +
                                std::to_string(index));
  }
  auto random = epoch_random(options_.seed, index);
  auto batches = shapes_.empty() ? batches_as_they_come(random) : batches_of_shapes(random);
  shuffle(batches, random);
  return batches;
}

std::vector<std::vector<int64_t>> BatchSchedule::batches_as_they_come(SplitMix64& random) const {
  std::vector<Place> order;
  order.reserve(kept_.size());
  for (const auto pair : kept_) {
    const auto& lengths = lengths_[static_cast<std::size_t>(pair)];
    order.emplace_back(lengths.source, lengths.target, random, pair);
  }
  std::sort(order.begin(), order.end());

  std::vector<std::vector<int64_t>> batches;
  int64_t rows = 0;
  int64_t longest = 0;
  for (const auto& place : order) {
    const auto& lengths = lengths_[static_cast<std::size_t>(place.pair)];
    longest = std::max({longest, lengths.source, lengths.target});
    if (rows == 0 || (rows + 1) * longest > options_.batch_tokens) {
      batches.emplace_back();
      rows = 0;
      longest = std::max(lengths.source, lengths.target);
    }
    batches.back().push_back(place.pair);
    ++rows;
  }
  return batches;
}

// What is left over of a shape goes to the next one that holds it, so that only the last batch has
// rows without a pair.
std::vector<std::vector<int64_t>> BatchSchedule::batches_of_shapes(SplitMix64& random) const {
  std::vector<std::vector<int64_t>> pairs(shapes_.size());
  for (const auto pair : kept_) {
    const auto& lengths = lengths_[static_cast<std::size_t>(pair)];
    const auto shape = std::find_if(shapes_.begin(), shapes_.end(), [&](const auto& one) {
      return one.holds(lengths);
    });
    pairs[static_cast<std::size_t>(shape - shapes_.begin())].push_back(pair);
  }
  std::vector<std::vector<int64_t>> batches;
  for (std::size_t i = 0; i < shapes_.size(); ++i) {
    auto& here = pairs[i];
    shuffle(here, random);
    auto begin = here.begin();
    for (; here.end() - begin >= shapes_[i].rows; begin += shapes_[i].rows) {
      batches.emplace_back(begin, begin + shapes_[i].rows);
    }
    if (begin == here.end()) continue;
    const auto next = std::find_if(shapes_.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                   shapes_.end(),
                                   [&](const auto& other) { return other.holds(shapes_[i]); });
    if (next == shapes_.end()) {
      batches.emplace_back(begin, here.end());
    } else {
      auto& there = pairs[static_cast<std::size_t>(next - shapes_.begin())];
      there.insert(there.end(), begin, here.end());
    }
  }
  return batches;
}

RowLengths BatchSchedule::longest(const std::vector<int64_t>& indices) const {
  RowLengths longest{0, 0};
  for (const auto pair : indices) {
    const auto& lengths = lengths_.at(static_cast<std::size_t>(pair));
    longest.source = std::max(longest.source, lengths.source);
    longest.target = std::max(longest.target, lengths.target);
  }
  return longest;
}

BatchShape BatchSchedule::shape_of(const std::vector<int64_t>& indices) const {
  const auto rows = static_cast<int64_t>(indices.size());
  const auto lengths = longest(indices);
  const auto shape = std::find_if(shapes_.begin(), shapes_.end(), [&](const auto& one) {
    return one.rows >= rows && one.holds(lengths);
  });
  return shape == shapes_.end() ? BatchShape() : *shape;
}

void PaddingCount::add(const Batch& batch) {
  entries_ += batch.sentences * (batch.source_length + batch.target_length);
  tokens_ += batch.source_tokens + batch.target_tokens;
}

double PaddingCount::take() {
  return share_of_padding(std::exchange(tokens_, 0), std::exchange(entries_, 0));
}

double BatchSchedule::padding_share(const std::vector<std::vector<int64_t>>& batches) const {
  int64_t tokens = 0;
  int64_t entries = 0;
  for (const auto& batch : batches) {
    for (const auto pair : batch) {
      const auto& lengths = lengths_.at(static_cast<std::size_t>(pair));
      tokens += lengths.source + lengths.target;
    }
    const auto shape = shape_of(batch);
    const auto most = longest(batch);
    entries += shape.rows > 0 ? shape.rows * shape.entries()
                              : static_cast<int64_t>(batch.size()) * (most.source + most.target);
  }
  return share_of_padding(tokens, entries);
}

}  // namespace evenkeel::examples::translation
