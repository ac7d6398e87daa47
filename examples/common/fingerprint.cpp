// SPDX-License-Identifier: MIT
#include "fingerprint.hpp"

#include "checksum.hpp"

namespace evenkeel::examples {

Fingerprint fingerprint(const std::vector<std::string>& lines) {
  Fingerprint result;
  Checksum checksum;
  for (const auto& line : lines) {
    checksum.add(line).add("\n", 1);
    result.bytes += static_cast<int64_t>(line.size()) + 1;
  }
  result.lines = static_cast<int64_t>(lines.size());
  result.checksum = checksum.hex();
  return result;
}

std::string difference(const Fingerprint& before, const Fingerprint& now) {
  const auto told = [](const Fingerprint& text) {
    return std::to_string(text.lines) + " lines (" + std::to_string(text.bytes) +
           " bytes, CRC-32 " + text.checksum + ")";
  };
  return told(before) + ", but got " + told(now);
}

std::vector<std::string> changed_texts(const Texts& before, const Texts& now) {
  std::vector<std::string> options;
  for (const auto& [option, text] : now) {
    const auto found = before.find(option);
    if (found == before.end() || found->second != text) options.push_back(option);
  }
  return options;
}

}  // namespace evenkeel::examples
