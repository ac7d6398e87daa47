// SPDX-License-Identifier: MIT
#include "run_log.hpp"

#include "files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

namespace evenkeel::translation {

namespace {

using nlohmann::json;

bool is_behind(const std::string& line, int64_t step) {
  const auto entry = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!entry.is_object() || !entry.contains("event") || !entry.contains("step")) return true;
  return entry["event"] == "end" || !entry["step"].is_number_integer() || entry["step"] > step;
}

}  // namespace

RunLog::RunLog(const std::string& file, int64_t step, int64_t lines) : file_(file) {
  if (::access(file.c_str(), F_OK) != 0) write_file(file, "");
  keep_until(step, lines);
}

RunLog::~RunLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void RunLog::keep_until(int64_t step, int64_t lines) {
  std::istringstream old(read_file(file_) + waiting_);
  std::string kept;
  lines_ = 0;
  for (std::string line; lines_ < lines && std::getline(old, line);) {
    if (is_behind(line, step)) continue;
    kept += line + "\n";
    ++lines_;
  }
  write_file(file_, kept);
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

}  // namespace evenkeel::translation
