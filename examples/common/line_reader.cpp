// SPDX-License-Identifier: MIT
#include "line_reader.hpp"

#include "text.hpp"

#include <sstream>

namespace evenkeel::examples {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

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

}  // namespace evenkeel::examples
