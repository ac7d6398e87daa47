// SPDX-License-Identifier: MIT
#pragma once

#include <sstream>
#include <stdexcept>

namespace evenkeel::detail {

/// Throws std::invalid_argument, the parts of its text put together as by a stream, unless `ok`.
/// For what has no tensors; where there is LibTorch, TORCH_CHECK says it with a backtrace.
template <typename... Parts>
void require(bool ok, const Parts&... parts) {
  if (ok) return;
  std::ostringstream text;
  (text << ... << parts);
  throw std::invalid_argument(text.str());
}

}  // namespace evenkeel::detail
