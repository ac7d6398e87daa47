// SPDX-License-Identifier: MIT
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// Throws std::invalid_argument, which begins with `what`, unless there are as many hypotheses as
/// references, and at least one.
inline void check_counts(const std::string& what,
                         const std::vector<std::string>& hypotheses,
                         const std::vector<std::string>& references) {
  if (!hypotheses.empty() && hypotheses.size() == references.size()) {
    return;
  }
  throw std::invalid_argument(
      what + ": expected as many hypotheses as references, at least one, but got " +
      std::to_string(hypotheses.size()) + " and " + std::to_string(references.size()));
}

}  // namespace evenkeel::examples::translation
