// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace evenkeel::examples {

/// By which a text is known again, wherever its files are, whatever they are called, however they
/// are compressed.
struct Fingerprint {
  int64_t lines = 0;
  int64_t bytes = 0;
  std::string checksum;  ///< CRC-32 of the lines, each with an LF.

  bool operator==(const Fingerprint& other) const {
    return lines == other.lines && bytes == other.bytes && checksum == other.checksum;
  }
  bool operator!=(const Fingerprint& other) const { return !(*this == other); }
};

/// The fingerprint of lines.
Fingerprint fingerprint(const std::vector<std::string>& lines);

/// What differs, as in "2000 lines (60123 bytes, CRC-32 0af3...), but 1000 lines (...)".
std::string difference(const Fingerprint& before, const Fingerprint& now);

/// The fingerprints of a run's texts, by the option that names the text's files.
using Texts = std::map<std::string, Fingerprint>;

/// The options of `now` whose text is not the one of `before`.
std::vector<std::string> changed_texts(const Texts& before, const Texts& now);

}  // namespace evenkeel::examples
