// SPDX-License-Identifier: MIT
#include "line.hpp"

#include <iterator>

void append_line(fmt::memory_buffer& text, float omega) {
  fmt::format_to(std::back_inserter(text), "omega of 36 sub-layers: {:.6f}\n", omega);
}
