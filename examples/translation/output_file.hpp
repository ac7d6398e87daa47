// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace evenkeel::translation {

/// Writes lines to a temporary file that is renamed to `file` when it is complete, or to stdout if
/// `file` is empty. Throws std::runtime_error if that fails.
void write_lines(const std::vector<std::string>& lines, const std::string& file);

}  // namespace evenkeel::translation
