// SPDX-License-Identifier: MIT
#include "run_log.hpp"

#include "files.hpp"
#include "json_text.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

namespace evenkeel::examples {

namespace {

using nlohmann::json;

// Whether a line is an entry of the log from no later than `step`.
bool stays(const std::string& line, int64_t step) {
  try {
    const auto entry = parse_json(line);
    return entry.at("event") != "end" && entry.at("step").is_number_unsigned() &&
           entry.at("step").get<uint64_t>() <= static_cast<uint64_t>(step);
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

std::string kept_lines(const std::string& text, int64_t step, int64_t lines) {
  std::istringstream old(text);
  std::string kept;
  for (std::string line; lines > 0 && std::getline(old, line);) {
    if (!stays(line, step)) continue;
    kept += line + "\n";
    --lines;
  }
  return kept;
}

RunLog::RunLog(const std::string& file, int64_t step, int64_t lines) : file_(file) {
  if (::access(file.c_str(), F_OK) != 0) write_file(file, "");
  keep_until(step, lines);
}

RunLog::~RunLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void RunLog::keep_until(int64_t step, int64_t lines) {
  const auto kept = kept_lines(read_file(file_) + waiting_, step, lines);
  write_file(file_, kept);
  lines_ = std::count(kept.begin(), kept.end(), '\n');
  waiting_.clear();
  trouble_.clear();
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  descriptor_ = ::open(file_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (descriptor_ < 0) throw FileError(file_ + ": " + std::strerror(errno));
}

void RunLog::write(const json& entry) {
  waiting_ += entry.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  ++lines_;
  trouble_.clear();
  while (!waiting_.empty()) {
    const auto written = ::write(descriptor_, waiting_.data(), waiting_.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      trouble_ = file_ + ": " + std::strerror(errno);
      return;
    }
    waiting_.erase(0, static_cast<size_t>(written));
  }
}

}  // namespace evenkeel::examples
