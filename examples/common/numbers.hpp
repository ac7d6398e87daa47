// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace evenkeel::examples {

/// The number that `text` spells in decimal, exactly and to its end; nothing where there is none or
/// where an int64_t cannot hold it.
std::optional<int64_t> parse_integer(std::string_view text);

/// The finite number that `text` spells, to its end, in whatever locale the program runs.
std::optional<double> parse_real(std::string_view text);

}  // namespace evenkeel::examples
