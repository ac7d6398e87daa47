// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// What a kernel of the residual is compiled for. Types: 0 float, 1 bfloat16, 2 half.
struct ResidualConfig {
  uint64_t dim : 15;
  uint64_t x : 2, f : 2, y : 2, sum : 2, w : 2, a : 2, b : 2, c : 2;  ///< types
  uint64_t norm : 2;                 ///< 0 none, 1 LayerNorm, 2 RMSNorm
  uint64_t has_w : 1, has_beta : 1;  ///< the norm's weight and bias
  uint64_t gain_a : 2, gain_b : 2;   ///< of shortcut and branch: 0 none, 1 a number, 2 a vector
  uint64_t has_bias : 1, drop : 1, has_sum : 1;
  uint64_t backward : 1;
  uint64_t has_dy : 1, has_dsum : 1;                                   ///< gradients that come
  uint64_t dx : 1, df : 1, dw : 1, dbeta : 1, da : 1, db : 1, dc : 1;  ///< gradients wanted
  uint64_t device : 7;

  ResidualConfig() { std::memset(static_cast<void*>(this), 0, sizeof(*this)); }

  /// All of it in a number.
  uint64_t key() const {
    uint64_t key = 0;
    static_assert(sizeof(*this) == sizeof(key));
    std::memcpy(&key, this, sizeof(key));
    return key;
  }

  /// Vectors among the sums over rows, and lone numbers.
  int columns() const {
    return static_cast<int>(dw + dbeta + dc) + (da != 0U && gain_a == 2) +
           (db != 0U && gain_b == 2);
  }
  int numbers() const { return (da != 0U && gain_a == 1) + (db != 0U && gain_b == 1); }
  /// Floats in a row of a block's sums; rows are aligned for 16-byte stores.
  int64_t partial_row() const {
    return (columns() * static_cast<int64_t>(dim) + numbers() + 3) / 4 * 4;
  }
};

/// How a kernel goes about it.
struct ResidualTuning {
  int vec = 1;       ///< elements a load
  int threads = 32;  ///< a row
  int groups = 1;    ///< rows that a block works on at once
  int stages = 1;    ///< rows in flight for each of them, with the one that is worked on
  int resident = 1;  ///< blocks that a multiprocessor holds at least
  int grid = 1;      ///< 1: as many blocks as the GPU holds; 0: one pass, as many as there are rows
  bool keep = true;  ///< Do parameters stay in registers from row to row?
  bool launch_early = false;
};

/// Bytes of a stage: for each row in flight, all that a block reads of it.
inline int64_t stage_bytes(const ResidualConfig& config, const ResidualTuning& tuning) {
  const auto bytes = [](uint64_t type) { return type == 0 ? 4 : 2; };
  int64_t element = bytes(config.x) + bytes(config.f);
  if (config.backward != 0U) {
    element += config.has_dy != 0U ? bytes(config.y) : 0;
    element += config.has_dsum != 0U ? bytes(config.sum) : 0;
  }
  const int64_t turn = static_cast<int64_t>(tuning.vec) * tuning.threads;
  const int64_t vectors = (static_cast<int64_t>(config.dim) + turn - 1) / turn;
  return vectors * turn * tuning.groups * element;
}

/// Shared memory of a block beside what the source declares.
inline int64_t shared_bytes(const ResidualConfig& config, const ResidualTuning& tuning) {
  const int64_t ring = tuning.stages > 1 ? tuning.stages * stage_bytes(config, tuning) : 0;
  const int64_t sums = config.backward != 0U && tuning.groups > 1
                           ? static_cast<int64_t>(config.dim) * tuning.groups * config.columns() * 4
                           : 0;
  return std::max(ring, sums);
}

/// A good choice for the GPU `architecture`, such as 90: measured on an H200.
inline ResidualTuning tuning_for(const ResidualConfig& config, int architecture) {
  const auto dim = static_cast<int>(config.dim);
  const bool any_float = config.x == 0 || config.f == 0 || (config.norm != 0 && config.y == 0) ||
                         ((config.has_sum != 0U || config.has_dsum != 0U) && config.sum == 0);
  const bool backward = config.backward != 0U;
  const bool mixed = config.x != config.f;
  const bool wide_rows = dim >= 1024;
  const bool many_to_a_row =
      !backward && any_float && config.drop == 0U && dim > 512 && dim <= 1024;
  ResidualTuning tuning;
  tuning.vec = any_float ? 4 : 8;
  while (dim % tuning.vec != 0) tuning.vec /= 2;
  const int loads = dim / tuning.vec;  // of a row
  if (loads <= 32) {
    while (tuning.threads / 2 >= loads) tuning.threads /= 2;
  } else {
    // So many elements of a row for each thread; more where a row would need too many threads.
    int share = 8;
    if (!backward && (config.drop != 0U || any_float || dim > 1024)) share = 16;
    if (many_to_a_row) share = 4;
    const int turns = std::max(1, share / tuning.vec);
    const int most_threads = backward ? 512 : 1024;
    tuning.threads = std::min(most_threads, ((loads + turns - 1) / turns + 31) / 32 * 32);
  }
  int block = many_to_a_row ? 512 : any_float && dim > 512 ? 64 : 256;
  // Backward each block ends with a row of sums: one to a multiprocessor.
  if (backward) block = any_float && wide_rows && tuning.threads <= 128 ? 384 : 512;
  tuning.groups = std::max(1, block / tuning.threads);
  // Lets the compiler have the registers that leave so many threads on a multiprocessor.
  tuning.resident = backward ? 1 : std::max(1, 512 / (tuning.threads * tuning.groups));
  const int kept = (loads + tuning.threads - 1) / tuning.threads * tuning.vec;
  tuning.keep = kept <= 16;
  tuning.launch_early = architecture >= 90;
  const bool async = architecture >= 80 && tuning.vec >= 2;  // a copy has 4 bytes at least
  tuning.stages = !async ? 1 : backward && wide_rows && tuning.groups > 1 ? 3 : 2;
  // What autocast makes of a residual goes best in one pass where rows are long.
  if (!backward && mixed && dim > 512 && !many_to_a_row) tuning.stages = 1;
  const int64_t most_shared = int64_t{architecture < 80 ? 64 : 96} * 1024;
  while (tuning.stages > 1 && shared_bytes(config, tuning) > most_shared) --tuning.stages;
  const int whole_warps = std::max(1, 32 / tuning.threads);
  while (tuning.groups > whole_warps && shared_bytes(config, tuning) > most_shared) {
    tuning.groups -= whole_warps;
  }
  tuning.grid = tuning.stages == 1 && !backward ? 0 : 1;
  return tuning;
}

/// The options of the compiler that say all this.
inline std::vector<std::string> options_of(const ResidualConfig& config,
                                           const ResidualTuning& tuning) {
  const std::vector<std::pair<const char*, uint64_t>> values{
      {"D", config.dim},
      {"VEC", static_cast<uint64_t>(tuning.vec)},
      {"TPR", static_cast<uint64_t>(tuning.threads)},
      {"GROUPS", static_cast<uint64_t>(tuning.groups)},
      {"STAGES", static_cast<uint64_t>(tuning.stages)},
      {"RESIDENT", static_cast<uint64_t>(tuning.resident)},
      {"KEEP", static_cast<uint64_t>(tuning.keep)},
      {"LAUNCH_EARLY", static_cast<uint64_t>(tuning.launch_early)},
      {"T_X", config.x},
      {"T_F", config.f},
      {"T_Y", config.y},
      {"T_SUM", config.sum},
      {"T_W", config.w},
      {"T_A", config.a},
      {"T_B", config.b},
      {"T_C", config.c},
      {"NORM", config.norm},
      {"HAS_W", config.has_w},
      {"HAS_BETA", config.has_beta},
      {"GAIN_A", config.gain_a},
      {"GAIN_B", config.gain_b},
      {"HAS_BIAS", config.has_bias},
      {"DROP", config.drop},
      {"HAS_SUM", config.has_sum},
      {"FORWARD", config.backward == 0U ? 1U : 0U},
      {"BACKWARD", config.backward},
      {"HAS_DY", config.has_dy},
      {"HAS_DSUM", config.has_dsum},
      {"DX", config.dx},
      {"DF", config.df},
      {"DW", config.dw},
      {"DBETA", config.dbeta},
      {"DA", config.da},
      {"DB", config.db},
      {"DC", config.dc}};
  std::vector<std::string> options;
  options.reserve(values.size());
  for (const auto& [name, value] : values) {
    options.push_back(std::string("-D") + name + "=" + std::to_string(value));
  }
  return options;
}

}  // namespace evenkeel::detail
