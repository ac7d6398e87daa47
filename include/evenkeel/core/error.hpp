// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

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

/// "a, b, c and 5 more", or "none".
inline std::string first_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  if (names.empty()) return "none";
  std::string text;
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    text += (i > 0 ? ", " : "") + names[i];
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

}  // namespace evenkeel::detail
