// SPDX-License-Identifier: MIT
#pragma once

#include "checkpoint.hpp"
#include "lock.hpp"
#include "run_files.hpp"

#include <optional>
#include <string>
#include <vector>

namespace evenkeel::examples {

/// The folder of a run that begins or goes on, which is this run's alone while this lives.
///
/// The constructor throws before anything is changed: ConfigError for a folder that holds another
/// run or files that belong to none, FileError for one that another run has or that cannot be
/// written, CheckpointError where there is nothing to resume.
class OpenRun {
 public:
  /// `others` are the files that the run writes beside those of RunFiles. A new folder is made.
  OpenRun(const RunFiles& files, const std::vector<std::string>& others, bool resume);

  /// With which the run goes on; nothing where it begins.
  const std::optional<Checkpoint>& checkpoint() const { return checkpoint_; }

 private:
  FolderLock lock_;
  std::optional<Checkpoint> checkpoint_;
};

}  // namespace evenkeel::examples
