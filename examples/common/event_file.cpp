// SPDX-License-Identifier: MIT
#include "event_file.hpp"

#include "event_records.hpp"
#include "files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

namespace evenkeel::examples {

EventFile::EventFile(const std::string& folder, const std::string& log) {
  if (folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw FileError(folder + ": " + error.message());
  file_ = folder + "/events.out.tfevents.0.evenkeel";  // TensorBoard looks for "tfevents"
  rewrite(log);
}

EventFile::~EventFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void EventFile::rewrite(const std::string& log) {
  if (file_.empty()) return;
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  std::vector<nlohmann::json> entries;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) entries.push_back(nlohmann::json::parse(line));
  began_ = now.count() - (entries.empty() ? 0.0 : entries.back().value("seconds", 0.0));
  auto content = event_file_header(began_);
  for (const auto& entry : entries) content += record(entry);
  write_file(file_, content);
  waiting_.clear();
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  descriptor_ = ::open(file_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (descriptor_ < 0) throw FileError(file_ + ": " + std::strerror(errno));
}

void EventFile::add(const nlohmann::json& entry) {
  if (file_.empty()) return;
  waiting_ += record(entry);
  while (!waiting_.empty()) {
    const auto written = ::write(descriptor_, waiting_.data(), waiting_.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return;
    waiting_.erase(0, static_cast<size_t>(written));
  }
}

std::string EventFile::record(const nlohmann::json& entry) {
  const auto event = entry.at("event").get<std::string>();
  std::vector<std::pair<std::string, double>> scalars;
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_number() || key == "step" || key == "seconds") continue;
    scalars.emplace_back(event + "/" + key, value.get<double>());
  }
  if (scalars.empty()) return {};
  return scalars_record(began_ + entry.value("seconds", 0.0),
                        entry.at("step").get<int64_t>(),
                        scalars);
}

}  // namespace evenkeel::examples
