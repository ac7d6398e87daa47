// SPDX-License-Identifier: MIT
#include "documents.hpp"

#include "common/checksum.hpp"
#include "common/text.hpp"

#include <cstdint>
#include <utility>

namespace evenkeel::examples::language_model {

std::vector<Document> read_documents(const std::vector<std::string>& files,
                                     const std::string& documents) {
  std::vector<Document> found;
  Document open;
  const auto close = [&] {
    if (!open.empty()) found.push_back(std::exchange(open, {}));
  };
  for (const auto& file : files) {
    for (auto& line : read_lines(file)) {
      const bool empty = line.empty();
      if (documents == "file" || !empty) open.push_back(std::move(line));
      if (documents == "line" || (documents == "paragraph" && empty)) close();
    }
    close();
  }
  return found;
}

Fingerprint fingerprint(const std::vector<Document>& documents) {
  Fingerprint result;
  Checksum checksum;
  for (const auto& document : documents) {
    for (const auto& line : document) {
      checksum.add(line).add("\n", 1);
      result.bytes += static_cast<int64_t>(line.size()) + 1;
    }
    checksum.add("\0", 1);
    result.lines += static_cast<int64_t>(document.size());
  }
  result.checksum = checksum.hex();
  return result;
}

}  // namespace evenkeel::examples::language_model
