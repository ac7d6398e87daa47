// SPDX-License-Identifier: MIT
#include "train.hpp"

#include "files.hpp"
#include "lock.hpp"
#include "model.hpp"
#include "run_folder.hpp"
#include "trainer.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace evenkeel::translation {

namespace {

bool exists(const std::string& file) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(file, error));
}

// A folder in which a run may begin: new, or with what a run left that ended before its first
// checkpoint.
void check_free(const RunFolder& folder) {
  for (const auto& file : {folder.last, folder.best}) {
    if (!exists(file)) continue;
    throw ConfigError(fmt::format(
        "--run-dir: {} holds a run already, with {}; go on with it by --resume, or name another "
        "folder",
        folder.path,
        file));
  }
  if (exists(folder.lock) || exists(folder.log)) return;
  for (const auto& file :
       {folder.config, folder.vocabulary, folder.source_vocabulary, folder.target_vocabulary}) {
    if (!exists(file)) continue;
    throw ConfigError(
        fmt::format("--run-dir: {} belongs to no run and would be overwritten; name another folder",
                    file));
  }
}

void check_same_vocabularies(const Checkpoint& checkpoint,
                             const RunFolder& folder,
                             const Config& run,
                             const Config& asked) {
  const auto check = [&](const char* option,
                         const std::string& before,
                         const std::string& now,
                         Vocabulary Vocabularies::*side) {
    if (now.empty() || now == before) return;
    const auto stored = stored_vocabularies(checkpoint, folder.last);
    if (Vocabulary::load_file(now).serialized() == (stored.*side).serialized()) return;
    throw ConfigError(
        fmt::format("--{}: expected the one with which the run began, but {} is another",
                    option,
                    now));
  };
  check("vocabulary", run.vocabulary, asked.vocabulary, &Vocabularies::source);
  check("source-vocabulary", run.source_vocabulary, asked.source_vocabulary, &Vocabularies::source);
  check("target-vocabulary", run.target_vocabulary, asked.target_vocabulary, &Vocabularies::target);
}

}  // namespace

Ending train(const Config& config, bool resume, bool accept_changed_text) {
  device_of(config);
  const bool joint = config.separate_vocabularies == 0;
  check_memory(config, {config.vocab_size, config.vocab_size, joint}, 4);
  for (const auto& file : {config.vocabulary, config.source_vocabulary, config.target_vocabulary}) {
    if (!file.empty() && !resume) Vocabulary::load_file(file);  // before anything takes time
  }
  const RunFolder folder(config.run_dir);
  if (!resume) {
    check_free(folder);
    std::error_code error;
    std::filesystem::create_directories(folder.path, error);
    if (error) throw FileError(folder.path + ": " + error.message());
  } else if (!exists(folder.last)) {
    load_last(folder);  // says what there is instead
  }
  const FolderLock lock(folder.lock);
  for (const auto& file : {folder.config, folder.log, folder.last, folder.best}) {
    check_writable(file);
  }
  if (joint) {
    check_writable(folder.vocabulary);
  } else {
    check_writable(folder.source_vocabulary);
    check_writable(folder.target_vocabulary);
  }
  std::optional<Checkpoint> checkpoint;
  if (resume) {
    checkpoint = load_last(folder);
    const auto run = stored_config(*checkpoint, folder.last);
    check_resumable(run, config);
    check_same_vocabularies(*checkpoint, folder, run, config);
  } else {
    check_free(folder);  // another run may have begun there meanwhile, and ended
  }
  return Trainer(config, std::move(checkpoint), accept_changed_text).run();
}

}  // namespace evenkeel::translation
