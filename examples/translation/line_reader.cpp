// SPDX-License-Identifier: MIT
#include "line_reader.hpp"

#include "parallel_text.hpp"

#include <optional>
#include <sstream>

namespace evenkeel::translation {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Where the first byte that is no part of well-formed UTF-8 lies (Unicode, table 3-7).
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

}  // namespace

bool LineReader::next(std::string& line) {
  if (!read(line)) return false;
  ++count_;
  const auto fail = [&](const std::string& why) {
    throw TextError(source_.name() + ":" + std::to_string(count_) + ": " + why);
  };
  cut_ = line.size() > kLimit;
  line.resize(utf8_prefix(line, kLimit).size());
  if (!line.empty() && line.back() == '\r') line.pop_back();
  if (const auto offset = find_broken_utf8(line)) {
    std::ostringstream message;
    message << "broken UTF-8 at byte offset " << *offset << " of the line: 0x" << std::hex
            << std::uppercase << static_cast<unsigned>(static_cast<unsigned char>(line[*offset]));
    fail(message.str());
  }
  if (const auto offset = line.find('\0'); offset != std::string::npos) {
    fail("a NUL at byte offset " + std::to_string(offset) +
         " of the line: expected UTF-8 text; UTF-16 is converted by iconv -f UTF-16LE -t UTF-8");
  }
  if (count_ == 1 && line.compare(0, kByteOrderMark.size(), kByteOrderMark) == 0) {
    line.erase(0, kByteOrderMark.size());
  }
  return true;
}

// The bytes up to the next LF, which is left out; none above one more than the limit.
bool LineReader::read(std::string& line) {
  line.clear();
  while (!ended_) {
    const auto end = block_.find('\n');
    const auto part = block_.substr(0, end);
    line.append(part.substr(0, kLimit + 1 - line.size()));
    if (end != std::string_view::npos) {
      block_.remove_prefix(end + 1);
      return true;
    }
    block_ = source_.next(count_);
    ended_ = block_.empty();
  }
  if (count_ == 0 && line == kByteOrderMark) line.clear();
  return !line.empty();
}

bool LineReader::waits() const {
  return !ended_ && block_.find('\n') == std::string_view::npos && source_.waits();
}

}  // namespace evenkeel::translation
