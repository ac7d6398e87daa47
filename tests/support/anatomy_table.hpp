// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>

#include <fmt/format.h>

#include <string>
#include <vector>

namespace evenkeel::test {

using Lines = std::vector<std::string>;

/// A parameter a line: name, its rows if not all of them, role, stack, sub-layer if it has one.
inline Lines parameters_of(const Anatomy& anatomy) {
  Lines lines;
  for (const auto& parameter : anatomy.parameters) {
    lines.push_back(
        parameter.name +
        (parameter.packed() ? fmt::format("[{}:{}]", parameter.row_begin, parameter.row_end) : "") +
        fmt::format(": {}, {}", to_string(parameter.role), to_string(parameter.stack)) +
        (parameter.sublayer >= 0 ? fmt::format(" {}", parameter.sublayer) : ""));
  }
  return lines;
}

/// A sub-layer a line: stack, index, name.
inline Lines sublayers_of(const Anatomy& anatomy) {
  Lines lines;
  for (const auto& sublayer : anatomy.sublayers) {
    lines.push_back(
        fmt::format("{} {} {}", to_string(sublayer.stack), sublayer.index, sublayer.name));
  }
  return lines;
}

}  // namespace evenkeel::test
