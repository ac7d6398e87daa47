// SPDX-License-Identifier: MIT
#pragma once

#include "common/fingerprint.hpp"

#include <string>
#include <vector>

namespace evenkeel::examples::language_model {

/// A document: its lines, without their ends.
using Document = std::vector<std::string>;

/// Reads the documents of files, plain or compressed with gzip. `documents` says what one is: a
/// "file"; a "paragraph", up to an empty line; or a "line". Empty ones are left out. Throws
/// TextError as `read_lines` does.
std::vector<Document> read_documents(const std::vector<std::string>& files,
                                     const std::string& documents);

/// The fingerprint of documents: of their lines, and of where each ends.
Fingerprint fingerprint(const std::vector<Document>& documents);

}  // namespace evenkeel::examples::language_model
