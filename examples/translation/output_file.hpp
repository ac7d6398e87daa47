// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace evenkeel::translation {

/// Writes lines to `file`, whole or not at all, by a temporary file that is renamed; to stdout
/// where `file` is empty. Throws std::runtime_error where that fails.
void write_lines(const std::vector<std::string>& lines, const std::string& file);

}  // namespace evenkeel::translation
