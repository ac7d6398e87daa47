// SPDX-License-Identifier: MIT
#include "translation/batches.hpp"

#include "common/random.hpp"
#include "common/vocabulary.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

using Batches = std::vector<std::vector<int64_t>>;
using Ids = std::vector<int64_t>;

// Pairs whose sides are about equally long, most of them short, as in real text.
std::vector<Pair> pairs(std::size_t count, uint64_t seed = 1) {
  SplitMix64 random(seed);
  std::vector<Pair> result;
  for (std::size_t i = 0; i < count; ++i) {
    const auto source = 3 + random.below(12) + random.below(12) + (random.below(20) == 0 ? 30 : 0);
    const auto target = source - source / 4 + random.below(source / 2 + 1);
    result.push_back({Ids(source, 5), Ids(target, 6)});
  }
  return result;
}

int64_t longest_row(const std::vector<Pair>& all, const Ids& batch) {
  std::size_t longest = 0;
  for (const auto i : batch) {
    const auto& pair = all[static_cast<std::size_t>(i)];
    longest = std::max({longest, pair.source.size() + 1, pair.target.size() + 1});
  }
  return static_cast<int64_t>(longest);
}

Ids flat(const Batches& batches) {
  Ids result;
  for (const auto& batch : batches) {
    result.insert(result.end(), batch.begin(), batch.end());
  }
  return result;
}

Ids sorted(Ids ids) {
  std::sort(ids.begin(), ids.end());
  return ids;
}

BatchOptions options(int64_t batch_tokens, int64_t max_length = 256, uint64_t seed = 1) {
  BatchOptions result;
  result.batch_tokens = batch_tokens;
  result.max_length = max_length;
  result.seed = seed;
  return result;
}

template <typename Error, typename Action>
std::string error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(MakeBatchTest, PutsMarksAndPadsWhereTheyBelong) {
  const std::vector<Pair> all = {{{10, 11, 12}, {20}}, {{9}, {9}}, {{13}, {21, 22}}};

  const auto batch = make_batch(all, {2, 0});

  EXPECT_EQ(batch.sentences, 2);
  EXPECT_EQ(batch.source_length, 4);
  EXPECT_EQ(batch.target_length, 3);
  EXPECT_EQ(batch.source, (Ids{13, kEos, kPad, kPad, 10, 11, 12, kEos}));
  EXPECT_EQ(batch.target_input, (Ids{kBos, 21, 22, kBos, 20, kPad}));
  EXPECT_EQ(batch.target_output, (Ids{21, 22, kEos, 20, kEos, kPad}));
  EXPECT_EQ(batch.source_tokens, 6);
  EXPECT_EQ(batch.target_tokens, 5);
}

TEST(MakeBatchTest, GivesEmptySidesTheirMarks) {
  const auto batch = make_batch({{{}, {}}}, {0});

  EXPECT_EQ(batch.source, (Ids{kEos}));
  EXPECT_EQ(batch.target_input, (Ids{kBos}));
  EXPECT_EQ(batch.target_output, (Ids{kEos}));
}

TEST(MakeBatchTest, CountsWhatIsNoPad) {
  const auto all = pairs(50);
  Ids indices(all.size());
  std::iota(indices.begin(), indices.end(), 0);

  const auto batch = make_batch(all, indices);
  const auto count = [](const Ids& ids) {
    return static_cast<int64_t>(ids.size()) - std::count(ids.begin(), ids.end(), kPad);
  };

  EXPECT_EQ(batch.source_tokens, count(batch.source));
  EXPECT_EQ(batch.target_tokens, count(batch.target_output));
  EXPECT_EQ(batch.target_tokens, count(batch.target_input));
}

TEST(MakeBatchTest, RefusesIndicesWithoutAPair) {
  const auto all = pairs(3);

  EXPECT_EQ(error_of<std::out_of_range>([&] {
              make_batch(all, {0, 3});
            }),
            "make_batch: expected indices from 0 to 2, but got 3");
  EXPECT_EQ(error_of<std::out_of_range>([&] { make_batch(all, {-1}); }),
            "make_batch: expected indices from 0 to 2, but got -1");
  EXPECT_EQ(error_of<std::invalid_argument>([&] { make_batch(all, {}); }),
            "make_batch: expected at least one index, but got none");
}

TEST(BatchScheduleTest, HasEveryPairOnceAnEpoch) {
  const auto all = pairs(1000);
  const BatchSchedule schedule(all, options(300));
  Ids everything(all.size());
  std::iota(everything.begin(), everything.end(), 0);

  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    EXPECT_EQ(sorted(flat(schedule.epoch(epoch))), everything);
  }
}

TEST(BatchScheduleTest, KeepsBatchesWithinTheLimit) {
  const auto all = pairs(1000);
  for (const int64_t limit : {60, 300, 5000, 1000000}) {
    const BatchSchedule schedule(all, options(limit));
    for (int64_t epoch = 0; epoch < 5; ++epoch) {
      for (const auto& batch : schedule.epoch(epoch)) {
        ASSERT_FALSE(batch.empty());
        if (batch.size() > 1) {
          ASSERT_LE(static_cast<int64_t>(batch.size()) * longest_row(all, batch), limit);
        }
      }
    }
  }
}

TEST(BatchScheduleTest, FillsBatches) {
  const auto all = pairs(5000);
  const auto batches = BatchSchedule(all, options(1000)).epoch(0);
  int64_t needed = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    needed += longest_row(all, {static_cast<int64_t>(i)});
  }

  EXPECT_LT(static_cast<double>(batches.size()), 1.1 * static_cast<double>(needed) / 1000.0);
}

TEST(BatchScheduleTest, GivesAPairAboveTheLimitABatchOfItsOwn) {
  auto all = pairs(100);
  all[17].target.resize(200, 6);
  const auto batches = BatchSchedule(all, options(150)).epoch(0);

  EXPECT_EQ(std::count(batches.begin(), batches.end(), Ids{17}), 1);
}

TEST(BatchScheduleTest, LeavesOutLongPairsAndCountsThem) {
  const std::vector<Pair> all = {{Ids(9, 5), Ids(9, 5)},
                                 {Ids(10, 5), Ids(1, 5)},
                                 {Ids(1, 5), Ids(10, 5)},
                                 {Ids(1, 5), {}}};
  const BatchSchedule schedule(all, options(100, 10));

  EXPECT_EQ(schedule.too_long(), 2);  // their eos would be the 11th
  EXPECT_EQ(schedule.size(), 2);
  EXPECT_EQ(sorted(flat(schedule.epoch(0))), (Ids{0, 3}));
}

TEST(BatchScheduleTest, RepeatsAnEpochExactly) {
  const auto all = pairs(1000);
  const BatchSchedule one(all, options(300));
  const BatchSchedule other(pairs(1000), options(300));
  one.epoch(0);

  EXPECT_EQ(one.epoch(7), other.epoch(7));
}

TEST(BatchScheduleTest, OrdersAlikeOnEveryMachine) {
  // Written down from this code: a change breaks restarts from older checkpoints.
  const std::vector<Pair> all = {{Ids(3, 5), Ids(4, 5)},
                                 {Ids(4, 5), Ids(4, 5)},
                                 {Ids(8, 5), Ids(2, 5)},
                                 {Ids(1, 5), Ids(1, 5)},
                                 {Ids(4, 5), Ids(3, 5)},
                                 {Ids(9, 5), Ids(9, 5)},
                                 {Ids(2, 5), Ids(2, 5)},
                                 {Ids(5, 5), Ids(4, 5)}};
  const BatchSchedule schedule(all, options(20));

  EXPECT_EQ(schedule.epoch(0), (Batches{{0, 7}, {3, 6, 4, 1}, {2, 5}}));
  EXPECT_EQ(schedule.epoch(1), (Batches{{0, 7}, {2, 5}, {3, 6, 4, 1}}));
}

TEST(BatchScheduleTest, DependsOnEpochAndSeed) {
  const auto all = pairs(1000);
  const BatchSchedule schedule(all, options(300, 256, 1));
  const BatchSchedule other(all, options(300, 256, 2));

  EXPECT_NE(schedule.epoch(0), schedule.epoch(1));
  EXPECT_NE(schedule.epoch(0), other.epoch(0));
  EXPECT_NE(schedule.epoch(1), other.epoch(0));
  EXPECT_NE(schedule.epoch(2), other.epoch(1));
}

TEST(BatchScheduleTest, GivesPairsOtherCompanyEachEpoch) {
  const auto all = pairs(3000);
  const BatchSchedule schedule(all, options(300));
  const auto first = schedule.epoch(0);
  const auto second = schedule.epoch(1);
  std::map<int64_t, std::size_t> batch_of;
  for (std::size_t b = 0; b < first.size(); ++b) {
    for (const auto pair : first[b]) {
      batch_of[pair] = b;
    }
  }
  int64_t together = 0;
  int64_t still_together = 0;
  for (const auto& batch : second) {
    for (std::size_t i = 1; i < batch.size(); ++i) {
      ++together;
      still_together += batch_of[batch[i]] == batch_of[batch[i - 1]] ? 1 : 0;
    }
  }

  EXPECT_LT(static_cast<double>(still_together), 0.5 * static_cast<double>(together));
}

TEST(BatchScheduleTest, MixesPairsOfEqualLength) {
  const std::vector<Pair> all(2000, Pair{Ids(9, 5), Ids(9, 5)});
  int64_t rises = 0;
  int64_t neighbours = 0;
  for (const auto& batch : BatchSchedule(all, options(500)).epoch(0)) {
    for (std::size_t i = 1; i < batch.size(); ++i) {
      ++neighbours;
      rises += batch[i] > batch[i - 1] ? 1 : 0;
    }
  }

  EXPECT_NEAR(static_cast<double>(rises) / static_cast<double>(neighbours), 0.5, 0.05);
}

TEST(BatchScheduleTest, DoesNotGoFromShortToLong) {
  const auto all = pairs(3000);
  const auto batches = BatchSchedule(all, options(300)).epoch(0);
  std::vector<int64_t> longest;
  longest.reserve(batches.size());
  for (const auto& batch : batches) {
    longest.push_back(longest_row(all, batch));
  }
  int64_t rises = 0;
  for (std::size_t i = 1; i < longest.size(); ++i) {
    rises += longest[i] > longest[i - 1] ? 1 : 0;
  }
  const auto share = static_cast<double>(rises) / static_cast<double>(longest.size());

  EXPECT_GT(share, 0.35);
  EXPECT_LT(share, 0.6);
}

TEST(BatchScheduleTest, ReportsTheShareOfPads) {
  const std::vector<Pair> all = {{Ids(1, 5), Ids(3, 5)}, {Ids(3, 5), Ids(2, 5)}};
  const BatchSchedule schedule(all, options(100));

  // rows of 4 + 4 and 4 + 4, of which 2 + 4 and 4 + 3 are no pads
  EXPECT_DOUBLE_EQ(schedule.padding_share({{0, 1}}), 3.0 / 16.0);
  EXPECT_DOUBLE_EQ(schedule.padding_share({{0}, {1}}), 0.0);
  EXPECT_DOUBLE_EQ(schedule.padding_share({}), 0.0);
}

TEST(BatchScheduleTest, PadsLittle) {
  const auto all = pairs(20000);
  const BatchSchedule schedule(all, options(2000));
  Ids in_order(all.size());
  std::iota(in_order.begin(), in_order.end(), 0);
  Batches unsorted;
  for (std::size_t i = 0; i < in_order.size(); i += 100) {
    unsorted.emplace_back(in_order.begin() + static_cast<std::ptrdiff_t>(i),
                          in_order.begin() + static_cast<std::ptrdiff_t>(i + 100));
  }

  EXPECT_LT(schedule.padding_share(schedule.epoch(0)), 0.06);
  EXPECT_GT(schedule.padding_share(unsorted), 0.5);
}

TEST(BatchScheduleTest, PadsToAFewShapes) {
  const auto all = pairs(20'000);
  auto wanted = options(1024);
  for (const int64_t shapes : {1, 4, 16}) {
    wanted.shapes = shapes;
    const BatchSchedule schedule(all, wanted);
    EXPECT_EQ(static_cast<int64_t>(schedule.shapes().size()), shapes);
    std::set<std::pair<int64_t, int64_t>> seen;
    const auto batches = schedule.epoch(3);
    for (const auto& indices : batches) {
      const auto batch = make_batch(all, indices, schedule.shape_of(indices));
      seen.emplace(batch.source_length, batch.target_length);
      EXPECT_LE(batch.sentences * std::max(batch.source_length, batch.target_length), 1024);
    }
    EXPECT_LE(static_cast<int64_t>(seen.size()), shapes);
    Ids every(all.size());
    std::iota(every.begin(), every.end(), 0);
    EXPECT_EQ(sorted(flat(batches)), every);
  }
}

TEST(BatchScheduleTest, MoreShapesPadLess) {
  const auto all = pairs(20'000);
  auto wanted = options(1024);
  std::vector<double> shares;
  for (const int64_t shapes : {1, 4, 16, 64}) {
    wanted.shapes = shapes;
    const BatchSchedule schedule(all, wanted);
    shares.push_back(schedule.padding_share(schedule.epoch(0)));
  }
  EXPECT_TRUE(std::is_sorted(shares.rbegin(), shares.rend()));
  EXPECT_LT(shares[2], 0.13);
  EXPECT_LT(shares[3], 0.08);
}

TEST(BatchScheduleTest, AllButOneBatchOfAShapeAreFull) {
  const auto all = pairs(20'000);
  auto wanted = options(1024);
  wanted.shapes = 16;
  const BatchSchedule schedule(all, wanted);
  int64_t not_full = 0;
  for (const auto& indices : schedule.epoch(0)) {
    const auto rows = static_cast<int64_t>(indices.size());
    not_full += schedule.shape_of(indices).rows == rows ? 0 : 1;
  }
  EXPECT_LE(not_full, 1);
}

TEST(BatchScheduleTest, ASmallTextHasFewShapes) {
  auto wanted = options(1024);
  wanted.shapes = 16;
  EXPECT_EQ(BatchSchedule(pairs(10), wanted).shapes().size(), 1U);
  EXPECT_LE(BatchSchedule(pairs(1000), wanted).shapes().size(), 10U);
}

TEST(MakeBatchTest, RowsThatAreAddedPredictNothing) {
  const std::vector<Pair> all{{{5, 6}, {7}}};
  const auto batch = make_batch(all, {0}, {2, 4, 3});
  EXPECT_EQ(batch.sentences, 2);
  EXPECT_EQ(batch.source, (Ids{5, 6, kEos, kPad, kEos, kPad, kPad, kPad}));
  EXPECT_EQ(batch.target_input, (Ids{kBos, 7, kPad, kBos, kPad, kPad}));
  EXPECT_EQ(batch.target_output, (Ids{7, kEos, kPad, kPad, kPad, kPad}));
  EXPECT_EQ(batch.source_tokens, 3);
  EXPECT_EQ(batch.target_tokens, 2);
}

TEST(BatchScheduleTest, RefusesLimitsThatLeaveNothing) {
  const auto all = pairs(3);
  const auto error_with = [&](const BatchOptions& limits) {
    return error_of<std::invalid_argument>([&] { BatchSchedule(all, limits); });
  };

  EXPECT_EQ(error_with(options(0)),
            "BatchSchedule: expected batch_tokens and max_length of at least 1, but got 0 and 256");
  EXPECT_EQ(
      error_with(options(100, -5)),
      "BatchSchedule: expected batch_tokens and max_length of at least 1, but got 100 and -5");
  EXPECT_EQ(error_with(options(100, 2)), "BatchSchedule: no pair is left of 3 with max_length 2");
  EXPECT_EQ(error_of<std::invalid_argument>([] { BatchSchedule({}, BatchOptions{}); }),
            "BatchSchedule: no pair is left of 0 with max_length 256");
}

TEST(BatchScheduleTest, RefusesNegativeEpochs) {
  const auto all = pairs(3);
  EXPECT_EQ(error_of<std::invalid_argument>([&] { BatchSchedule(all, options(100)).epoch(-1); }),
            "BatchSchedule: expected an epoch of at least 0, but got -1");
}

}  // namespace
}  // namespace evenkeel::examples::translation
