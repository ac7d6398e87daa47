// SPDX-License-Identifier: MIT
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>

namespace evenkeel::translation {

/// log.jsonl: one JSON object a line.
class RunLog {
 public:
  /// Goes on with the log of a run that stands at `step`; lines behind that, of updates that were
  /// lost, are dropped, as is the end. Throws FileError, as all members do.
  RunLog(const std::string& file, int64_t step);
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;
  ~RunLog();

  /// Drops the lines behind `step`.
  void keep_until(int64_t step);

  /// Appends a line. On a full disk it waits in memory for the next one, and `trouble()` says why:
  /// the training goes on.
  void write(const nlohmann::json& entry);

  /// Why lines are still waiting; empty where none are.
  const std::string& trouble() const { return trouble_; }

 private:
  std::string file_;
  std::string waiting_;
  std::string trouble_;
  int descriptor_ = -1;
};

}  // namespace evenkeel::translation
