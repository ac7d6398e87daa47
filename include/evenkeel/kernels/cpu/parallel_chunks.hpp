// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/TensorIterator.h>
#include <ATen/ops/empty.h>
#include <c10/util/FunctionRef.h>

#include <algorithm>
#include <cstdint>

namespace evenkeel::detail::cpu {

constexpr int64_t kChunkRows = 64;  // so many are summed in float32, then chunks in double

inline int64_t chunks_of(int64_t rows) {
  return (rows + kChunkRows - 1) / kChunkRows;
}

/// `work(chunk, begin, end)` for the rows of every chunk, on LibTorch's own threads.
/// at::parallel_for() would be serial in a program that is compiled without -fopenmp; what an
/// iterator does is compiled in LibTorch.
inline void parallel_chunks(int64_t rows,
                            int64_t dim,
                            c10::function_ref<void(int64_t, int64_t, int64_t)> work) {
  constexpr int64_t kWorthAThread = 32768;  // elements
  const int64_t grain = std::max<int64_t>(1, kWorthAThread / (kChunkRows * dim));
  const int64_t chunks = chunks_of(rows);
  const auto some = [&](int64_t first, int64_t last) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      work(chunk, chunk * kChunkRows, std::min(rows, (chunk + 1) * kChunkRows));
    }
  };
  if (chunks <= grain) {
    some(0, chunks);
    return;
  }
  const auto places = at::empty({chunks}, at::kByte);
  const auto* const base = static_cast<const char*>(places.const_data_ptr());
  auto iterator = at::TensorIterator::borrowing_nullary_op(places);
  iterator.for_each(
      [&](char** data, const int64_t* strides, int64_t size, int64_t lines) {
        for (int64_t line = 0; line < lines; ++line) {  // of one dimension there is one
          const int64_t begin = data[0] - base + line * strides[1];
          some(begin, begin + size);
        }
      },
      grain);
}

}  // namespace evenkeel::detail::cpu
