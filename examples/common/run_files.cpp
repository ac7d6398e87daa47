// SPDX-License-Identifier: MIT
#include "run_files.hpp"

#include "numbers.hpp"
#include "settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace evenkeel::examples {

std::string model_file(const std::string& folder_or_file) {
  if (!std::filesystem::is_directory(folder_or_file)) return folder_or_file;
  const RunFiles files(folder_or_file);
  return std::filesystem::exists(files.best) ? files.best : files.last;
}

bool exists(const std::string& file) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(file, error));
}

void check_free(const RunFiles& files, const std::vector<std::string>& others) {
  for (const auto& file : {files.last, files.best}) {
    if (!exists(file)) continue;
    throw ConfigError(fmt::format(
        "--run-dir: {} holds a run already, with {}; go on with it by --resume, or name another "
        "folder",
        files.path,
        file));
  }
  if (exists(files.lock) || exists(files.log)) return;
  auto written = others;
  written.insert(written.begin(), files.config);
  for (const auto& file : written) {
    if (!exists(file)) continue;
    throw ConfigError(
        fmt::format("--run-dir: {} belongs to no run and would be overwritten; name another folder",
                    file));
  }
}

std::vector<int64_t> earlier_updates(const RunFiles& files) {
  std::vector<int64_t> found;
  std::error_code no_folder;
  for (const auto& entry : std::filesystem::directory_iterator(files.path, no_folder)) {
    const auto name = entry.path().stem().string();  // step-N
    const auto step =
        parse_integer(std::string_view(name).substr(std::min<size_t>(5, name.size())));
    if (step && entry.path().string() == files.earlier(*step)) found.push_back(*step);
  }
  std::sort(found.begin(), found.end());
  return found;
}

Checkpoint load_last(const RunFiles& files) {
  try {
    return load_checkpoint(files.last);
  } catch (const CheckpointError& error) {
    const auto earlier = earlier_updates(files);
    std::error_code unknown;
    if (earlier.empty() && !std::filesystem::exists(files.last, unknown)) {
      throw CheckpointError(std::string(error.what()) +
                            "; a run without a checkpoint is begun again without --resume");
    }
    if (earlier.empty()) throw;
    throw CheckpointError(fmt::format("{}; to go on from the checkpoint before it, rename {} to {}",
                                      error.what(),
                                      files.earlier(earlier.back()),
                                      files.last));
  }
}

}  // namespace evenkeel::examples
