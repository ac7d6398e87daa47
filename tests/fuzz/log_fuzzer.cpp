// SPDX-License-Identifier: MIT
// The log of a run that is resumed: what stays of it are lines of the input, in their order, and
// all of them stay the next time.
#include "common/run_log.hpp"
#include "fuzz.hpp"

#include <algorithm>
#include <sstream>

using namespace evenkeel::examples;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const std::string input(text_of(data, size));
  constexpr int64_t kStep = 100;
  for (const int64_t lines : {1, 1000}) {
    const auto kept = kept_lines(input, kStep, lines);
    require(std::count(kept.begin(), kept.end(), '\n') <= lines,
            "no more lines stay than there were");
    require(kept_lines(kept, kStep, lines) == kept, "what stays, stays");
    std::istringstream before(input), after(kept);
    for (std::string line, candidate; std::getline(after, line);) {
      do {
        require(bool(std::getline(before, candidate)), "what stays is from the log");
      } while (candidate != line);
    }
  }
  return 0;
}
