// SPDX-License-Identifier: MIT
#include "text.hpp"

#include "line_reader.hpp"

#include <utility>

namespace evenkeel::examples {

std::vector<std::string> read_lines(const std::string& file) {
  LineReader reader(file == "-" ? "" : file);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) {
    if (reader.cut()) {
      throw TextError(file + ":" + std::to_string(reader.count()) + ": expected lines of at most " +
                      std::to_string(LineReader::kLimit) + " bytes, but this one is longer");
    }
    lines.push_back(std::move(line));
  }
  if (lines.empty()) throw TextError(file + ": the file is empty");
  return lines;
}

// Unicode, table 3-7.
std::optional<std::size_t> find_broken_utf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    std::size_t length = 0;
    unsigned low = 0x80;  // bounds of the second byte
    unsigned high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) {
      length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      length = 3;
      low = lead == 0xE0 ? 0xA0 : 0x80;   // overlong
      high = lead == 0xED ? 0x9F : 0xBF;  // surrogates
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      length = 4;
      low = lead == 0xF0 ? 0x90 : 0x80;   // overlong
      high = lead == 0xF4 ? 0x8F : 0xBF;  // above U+10FFFF
    } else {
      return i;
    }
    for (std::size_t k = 1; k < length; ++k) {
      const unsigned byte = i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0U;
      if (byte < low || byte > high) {
        return i;
      }
      low = 0x80;
      high = 0xBF;
    }
    i += length;
  }
  return std::nullopt;
}

std::string as_utf8(std::string text) {
  constexpr std::string_view kReplacement = "\uFFFD";
  std::size_t from = 0;
  while (const auto broken = find_broken_utf8(std::string_view(text).substr(from))) {
    text.replace(from + *broken, 1, kReplacement);
    from += *broken + kReplacement.size();
  }
  return text;
}

std::string_view utf8_prefix(std::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0U) == 0x80) --bytes;
  return text.substr(0, bytes);
}

std::size_t leading_space(std::string_view text) {
  const auto byte = [text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned first = byte(0);
  if (first == 0x20 || (first >= 0x09 && first <= 0x0D) || (first >= 0x1C && first <= 0x1F)) {
    return 1;
  }
  if (first == 0xC2) {  // U+0085, U+00A0
    return byte(1) == 0x85 || byte(1) == 0xA0 ? 2 : 0;
  }
  if (first < 0xE1 || first > 0xE3) {
    return 0;
  }
  const unsigned code = (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  const bool space = code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
                     code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
  return space && text.size() >= 3 ? 3 : 0;
}

}  // namespace evenkeel::examples
