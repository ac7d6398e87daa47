// SPDX-License-Identifier: MIT
#pragma once

#include <nlohmann/json.hpp>

#include <stdexcept>
#include <string>

namespace evenkeel::examples {

/// Text that is not JSON; the message says where and why.
class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The JSON of a text that comes from outside. Throws JsonError for damage, which is told by line
/// and column; for a name that an object has twice; and for more than 64 levels of nesting, since
/// nlohmann-json's copies and texts take some of the stack for each level.
nlohmann::json parse_json(const std::string& text);

}  // namespace evenkeel::examples
