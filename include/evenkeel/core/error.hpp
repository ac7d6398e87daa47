// SPDX-License-Identifier: MIT
#pragma once

#include <sstream>
#include <stdexcept>

namespace evenkeel::detail {

/// Throws std::invalid_argument unless `ok`; the message is the parts, written to a stream. For
/// headers that do not include LibTorch; others use TORCH_CHECK.
template <typename... Parts>
void require(bool ok, const Parts&... parts) {
  if (ok) return;
  std::ostringstream text;
  (text << ... << parts);
  throw std::invalid_argument(text.str());
}

}  // namespace evenkeel::detail
