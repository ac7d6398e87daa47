// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/platform.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>

#include <algorithm>
#include <cstdint>

namespace evenkeel::detail::cuda {

/// How a kernel goes about a residual of some form.
struct Tuning {
  int vec = 1;       ///< elements a load
  int threads = 32;  ///< a row
  int groups = 1;    ///< rows that a block works on at once
  int stages = 1;    ///< rows in flight for each of them, with the one that is worked on
  int resident = 1;  ///< blocks that a multiprocessor holds at least
  int grid = 1;      ///< 1: as many blocks as the GPU holds; 0: one pass, as many as there are rows
  bool keep = true;  ///< Do parameters stay in registers from row to row?
  bool launch_early = false;
};

/// Columns among the sums over rows that a backward ends with.
inline int64_t columns_of_sums(const ResidualForm& form) {
  int64_t columns = 0;
  for (int i = kShortcut; i < kInputs; ++i) {
    const bool is_number =
        (i == kShortcut && form.shortcut_count == 1) || (i == kBranch && form.branch_count == 1);
    columns += form.wants(i) && !is_number ? static_cast<int64_t>(form.dim) : 0;
  }
  return columns;
}

/// Floats in a row of sums: the columns, then the numbers; aligned for 16-byte stores.
inline int64_t row_of_sums(const ResidualForm& form) {
  const int64_t numbers = static_cast<int64_t>(form.wants(kShortcut) && form.shortcut_count == 1) +
                          static_cast<int64_t>(form.wants(kBranch) && form.branch_count == 1);
  return (columns_of_sums(form) + numbers + 3) / 4 * 4;
}

/// Bytes of a stage: for each row in flight, all that a block reads of it.
inline int64_t stage_bytes(const ResidualForm& form, const Tuning& tuning) {
  const auto bytes = [](uint64_t type) { return type == 0 ? 4 : 2; };
  int64_t element = bytes(form.x) + bytes(form.f_x);
  if (form.backward != 0U) {
    element += form.has_dy != 0U ? bytes(form.y) : 0;
    element += form.has_dsum != 0U ? bytes(form.sum) : 0;
  }
  const int64_t turn = static_cast<int64_t>(tuning.vec) * tuning.threads;
  const int64_t vectors = (static_cast<int64_t>(form.dim) + turn - 1) / turn;
  return vectors * turn * tuning.groups * element;
}

/// Shared memory of a block beside what the source declares.
inline int64_t shared_bytes(const ResidualForm& form, const Tuning& tuning) {
  const int64_t ring = tuning.stages > 1 ? tuning.stages * stage_bytes(form, tuning) : 0;
  const int64_t sums =
      form.backward != 0U && tuning.groups > 1 ? columns_of_sums(form) * tuning.groups * 4 : 0;
  return std::max(ring, sums);
}

/// A good choice for the GPU `architecture`, such as 90: measured on an H200.
EVENKEEL_COLD inline Tuning tuning_for(const ResidualForm& form, int architecture) {
  const auto dim = static_cast<int>(form.dim);
  const bool any_float = form.x == 0 || form.f_x == 0 || (form.norm != 0 && form.y == 0) ||
                         ((form.has_sum != 0U || form.has_dsum != 0U) && form.sum == 0);
  const bool backward = form.backward != 0U;
  const bool mixed = form.x != form.f_x;
  const bool wide_rows = dim >= 1024;
  const bool many_to_a_row = !backward && any_float && form.drops == 0U && dim > 512 && dim <= 1024;
  Tuning tuning;
  tuning.vec = any_float ? 4 : 8;
  while (dim % tuning.vec != 0) tuning.vec /= 2;
  const int loads = dim / tuning.vec;  // of a row
  if (loads <= 32) {
    while (tuning.threads / 2 >= loads) tuning.threads /= 2;
  } else {
    // So many elements of a row for each thread; more where a row would need too many threads.
    int share = 8;
    if (!backward && (form.drops != 0U || any_float || dim > 1024)) share = 16;
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
  // The forward of an RMSNorm has few registers: launched early, its blocks find room beside those
  // of a backward ahead of it, and both together are 3 to 7% slower.
  tuning.launch_early = architecture >= 90 && (backward || form.norm != 2);
  const bool async = architecture >= 80 && tuning.vec >= 2;  // a copy has 4 bytes at least
  tuning.stages = !async ? 1 : backward && wide_rows && tuning.groups > 1 ? 3 : 2;
  // What autocast makes of a residual goes best in one pass where rows are long.
  if (!backward && mixed && dim > 512 && !many_to_a_row) tuning.stages = 1;
  const int64_t most_shared = int64_t{architecture < 80 ? 64 : 96} * 1024;
  while (tuning.stages > 1 && shared_bytes(form, tuning) > most_shared) --tuning.stages;
  const int whole_warps = std::max(1, 32 / tuning.threads);
  while (tuning.groups > whole_warps && shared_bytes(form, tuning) > most_shared) {
    tuning.groups -= whole_warps;
  }
  tuning.grid = tuning.stages == 1 && !backward ? 0 : 1;
  return tuning;
}

}  // namespace evenkeel::detail::cuda
