// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>

namespace evenkeel::examples::translation {

/// UTF-8 in lower case, as Python's str.lower() has it, by Unicode 14: a capital I with a dot
/// becomes two characters, and a capital sigma at the end of a word the final one. Unlike Python,
/// of the letters without another case only those with one decide where a word ends.
std::string lower_case(std::string_view text);

}  // namespace evenkeel::examples::translation
