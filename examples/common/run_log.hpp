// SPDX-License-Identifier: MIT
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>

namespace evenkeel::examples {

/// The first `lines` entries of a log from no later than `step`, each with an LF. What says that
/// the run ended and lines that are no entries, such as one that was cut off, are left out.
std::string kept_lines(const std::string& text, int64_t step, int64_t lines);

/// log.jsonl: one JSON object a line.
class RunLog {
 public:
  /// Goes on with the log of a run that stands at `step` and had `lines` of it; what came later, of
  /// updates that were lost, is dropped. Throws FileError, as all members do.
  RunLog(const std::string& file, int64_t step, int64_t lines);
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;
  ~RunLog();

  /// Drops what came later than that.
  void keep_until(int64_t step, int64_t lines);

  /// Lines, those that wait included.
  int64_t lines() const { return lines_; }

  /// Appends a line. On a full disk it waits in memory for the next one, and `trouble()` says why:
  /// the training goes on.
  void write(const nlohmann::json& entry);

  /// Why lines are still waiting; empty where none are.
  const std::string& trouble() const { return trouble_; }

 private:
  std::string file_;
  int64_t lines_ = 0;
  std::string waiting_;
  std::string trouble_;
  int descriptor_ = -1;
};

}  // namespace evenkeel::examples
