// SPDX-License-Identifier: MIT
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace evenkeel::examples {

/// The numbers of a run's log in an event file of TensorBoard, as EVENT/KEY over the updates.
class EventFile {
 public:
  /// Writes the file anew, from the lines of a log. An empty folder is none: nothing is written.
  /// Throws FileError for a folder that cannot be written.
  EventFile(const std::string& folder, const std::string& log);
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;
  ~EventFile();

  /// Writes the file anew, since the log has lost lines.
  void rewrite(const std::string& log);

  /// Adds an entry of the log. What cannot be written waits in memory for the next one.
  void add(const nlohmann::json& entry);

 private:
  std::string record(const nlohmann::json& entry);

  std::string file_;
  std::string waiting_;
  double began_ = 0.0;  // when the run's first second was, since 1970
  int descriptor_ = -1;
};

}  // namespace evenkeel::examples
