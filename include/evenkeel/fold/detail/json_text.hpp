// SPDX-License-Identifier: MIT
#pragma once

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::detail {

/// Returns the bytes of the UTF-8 character that `text` begins with, 0 if it begins with none.
inline size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80) return 0;
  }
  const bool overlong = (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xF0 && byte(1) < 0x90);
  const bool outside = (lead == 0xED && byte(1) >= 0xA0) || (lead == 0xF4 && byte(1) >= 0x90);
  return overlong || outside ? 0 : length;
}

/// `text` as a JSON string, with quotes. Throws if it is not UTF-8, in which JSON is written.
inline std::string json_string(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const auto length = utf8_length(text);
    TORCH_CHECK(length > 0,
                "JSON: expected a text in UTF-8, but got the byte ",
                fmt::format("0x{:02X}", static_cast<unsigned char>(text[0])),
                " after ",
                json);
    const char c = text[0];
    if (c == '"' || c == '\\') {
      json += {'\\', c};
    } else if (length == 1 && static_cast<unsigned char>(c) < 0x20) {
      json += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      json += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return json + "\"";
}

/// A JSON array of strings, one a line.
inline std::string json_array(const std::vector<std::string>& texts) {
  std::string json = "[";
  for (const auto& text : texts) {
    json += (json.size() > 1 ? ",\n  " : "\n  ") + json_string(text);
  }
  return json + "\n]\n";
}

}  // namespace evenkeel::detail
