// SPDX-License-Identifier: MIT
#include "json_text.hpp"

#include <algorithm>
#include <set>
#include <vector>

namespace evenkeel::examples {

nlohmann::json parse_json(const std::string& text) {
  using nlohmann::json;
  constexpr int kDeepest = 64;
  std::vector<std::set<std::string>> names;  // of the objects around the place that is read
  const auto look = [&names](int depth, json::parse_event_t event, json& value) {
    if (depth > kDeepest) {
      throw JsonError("expected at most 64 levels of nesting, but there are more");
    }
    if (event == json::parse_event_t::object_start) names.emplace_back();
    if (event == json::parse_event_t::object_end) names.pop_back();
    if (event == json::parse_event_t::key &&
        !names.back().insert(value.get_ref<const std::string&>()).second) {
      throw JsonError(value.dump() + " appears twice");
    }
    return true;
  };
  try {
    return json::parse(text, look);
  } catch (const json::exception& error) {
    const std::string why = error.what();  // "[json.exception.parse_error.101] parse error at ..."
    throw JsonError(why.substr(std::min(why.find("] ") + 2, why.size())));
  }
}

}  // namespace evenkeel::examples
