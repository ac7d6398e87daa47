// SPDX-License-Identifier: MIT
// Text of any bytes: read to its end or refused by a TextError, alike by name and from standard
// input, and every line is UTF-8 that stands in the input.
#include "common/line_reader.hpp"
#include "common/text.hpp"
#include "fuzz.hpp"

#include <algorithm>
#include <vector>

using namespace evenkeel::examples;

namespace {

struct Outcome {
  std::vector<std::string> lines;
  std::string error;  // without the name
};

Outcome outcome_of(const std::string& file) {
  Outcome outcome;
  try {
    LineReader reader(file);
    for (std::string line; reader.next(line);) outcome.lines.push_back(line);
  } catch (const TextError& error) {
    const std::string name = file.empty() ? "standard input" : file;
    outcome.error = error.what();
    require(outcome.error.compare(0, name.size(), name) == 0, "an error begins with the name");
    outcome.error.erase(0, name.size());
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const auto input = text_of(data, size);
  const MemoryFile file(input);
  const auto named = outcome_of(file.name());
  ::dup2(file.descriptor(), STDIN_FILENO);
  ::lseek(STDIN_FILENO, 0, SEEK_SET);
  const auto piped = outcome_of("");
  require(named.lines == piped.lines, "a file and standard input have the same lines");
  require(named.error == piped.error, "and the same error");

  const bool compressed = input.substr(0, 2) == "\x1F\x8B";
  for (const auto& line : named.lines) {
    require(!find_broken_utf8(line), "a line is UTF-8");
    require(line.find('\n') == line.npos && line.find('\0') == line.npos, "without LF and NUL");
    require(compressed || input.find(line) != input.npos, "and stands in the input");
    require(!find_broken_utf8(utf8_prefix(line, line.size() / 2)), "its start is UTF-8 too");
    require(leading_space(line) <= line.size(), "white space is a part of the line");
  }
  if (!compressed && named.error.empty()) {
    constexpr std::string_view kMark = "\xEF\xBB\xBF";
    const auto ends = std::count(input.begin(), input.end(), '\n');
    const bool open = !input.empty() && input.back() != '\n' && input != kMark;
    require(named.lines.size() == static_cast<std::size_t>(ends + (open ? 1 : 0)),
            "no line is lost");
  }
  return 0;
}
