// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/TensorIterator.h>
#include <ATen/ops/empty.h>

#include <cstdint>

namespace evenkeel::detail::cpu {

/// `work(begin, end)` for parts of 0 to `count`, on LibTorch's own threads; a thread is given
/// `grain` or more. at::parallel_for() would be serial in a program that is compiled without
/// -fopenmp; what an iterator does is compiled in LibTorch.
template <typename Work>
void parallel_chunks(int64_t count, int64_t grain, const Work& work) {
  if (count <= grain) {
    work(int64_t{0}, count);
    return;
  }
  const auto places = at::empty({count}, at::kByte);
  const auto* const base = static_cast<const char*>(places.const_data_ptr());
  auto iterator = at::TensorIterator::borrowing_nullary_op(places);
  iterator.for_each(
      [&](char** data, const int64_t* strides, int64_t size, int64_t lines) {
        for (int64_t line = 0; line < lines; ++line) {  // of one dimension there is one
          const int64_t begin = data[0] - base + line * strides[1];
          work(begin, begin + size);
        }
      },
      grain);
}

}  // namespace evenkeel::detail::cpu
