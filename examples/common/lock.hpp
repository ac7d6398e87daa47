// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace evenkeel::examples {

/// Keeps a folder to one run while it lives. The lock is the system's (flock) on a file in the
/// folder, so it goes with the process however that ends; the file stays, and says who had it.
class FolderLock {
 public:
  /// Throws FileError if another process, or another lock in this one, has the file: it is named.
  explicit FolderLock(const std::string& file);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();

 private:
  int descriptor_;
};

}  // namespace evenkeel::examples
