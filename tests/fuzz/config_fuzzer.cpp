// SPDX-License-Identifier: MIT
// Settings: as the text of config.json, or, behind a 0xFF, as lines "name word" of a command line.
// Whatever they are, they are taken or refused by a ConfigError, and what is taken is written and
// read back the same.
#include "fuzz.hpp"
#include "translation/config.hpp"

#include <nlohmann/json.hpp>

#include <sstream>

using namespace evenkeel::examples;
using namespace evenkeel::examples::translation;

namespace {

Config config_of(std::string_view input) {
  if (input.empty() || input.front() != '\xFF') {
    return config_from_text(std::string(input), "config.json");
  }
  std::istringstream lines{std::string(input.substr(1))};
  Config config;
  for (std::string line; std::getline(lines, line);) {
    const auto space = line.find(' ');
    if (space == std::string::npos) continue;
    set_option(config, line.substr(0, space), {line.substr(space + 1)});
  }
  return config;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  try {
    const auto config = config_of(text_of(data, size));
    const auto written = to_json(config).dump();
    const auto read = to_json(config_from_text(written, "config.json")).dump();
    require(read == written, "settings read back as they were written");
    const auto whole = resolved(config);
    require(to_json(resolved(whole)) == to_json(whole), "resolved settings stay as they are");
  } catch (const ConfigError&) {
  }
  return 0;
}
