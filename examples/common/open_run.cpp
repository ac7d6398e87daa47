// SPDX-License-Identifier: MIT
#include "open_run.hpp"

#include "files.hpp"

#include <filesystem>
#include <system_error>

namespace evenkeel::examples {

namespace {

// Makes the folder, if it is new. Returns the file of its lock.
const std::string& prepare(const RunFiles& files,
                           const std::vector<std::string>& others,
                           bool resume) {
  if (!resume) {
    check_free(files, others);
    std::error_code error;
    std::filesystem::create_directories(files.path, error);
    if (error) throw FileError(files.path + ": " + error.message());
  } else if (!exists(files.last)) {
    load_last(files);  // says what there is instead
  }
  return files.lock;
}

}  // namespace

OpenRun::OpenRun(const RunFiles& files, const std::vector<std::string>& others, bool resume)
    : lock_(prepare(files, others, resume)) {
  for (const auto& file : {files.config, files.log, files.last, files.best}) check_writable(file);
  for (const auto& file : others) check_writable(file);
  if (resume) {
    checkpoint_ = load_last(files);
  } else {
    check_free(files, others);  // another run may have begun there meanwhile, and ended
  }
}

}  // namespace evenkeel::examples
