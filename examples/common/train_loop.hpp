// SPDX-License-Identifier: MIT
#pragma once

#include "batch_source.hpp"
#include "checkpoint_store.hpp"
#include "event_file.hpp"
#include "fingerprint.hpp"
#include "interval.hpp"
#include "progress.hpp"
#include "run_files.hpp"
#include "run_log.hpp"
#include "settings.hpp"
#include "update_step.hpp"
#include "validator.hpp"

#include <evenkeel/diagnose/diagnosis.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace evenkeel::examples {

/// Why a training run ended.
enum class Ending { kFinished, kTime, kStalled, kStopped, kDiverged };

constexpr const char* to_string(Ending ending) {
  switch (ending) {
    case Ending::kFinished:
      return "finished";
    case Ending::kTime:
      return "time";
    case Ending::kStalled:
      return "stalled";
    case Ending::kStopped:
      return "stopped";
    case Ending::kDiverged:
      return "diverged";
  }
  return "?";
}

/// What the loop does not know of what it trains.
struct Trainee {
  /// Adds to a checkpoint what is needed to use the model, beside its weights.
  std::function<void(Checkpoint&)> describe;
  /// Diagnoses the model as it is now, on a batch of its text.
  std::function<Diagnosis()> diagnose;
  /// What the learning rate is multiplied by after a validation, where that is not 1; `stalled` are
  /// the validations since one was better.
  std::function<double(int64_t stalled)> lr_factor = [](int64_t) { return 1.0; };
  /// What else the log says of the updates since it was called last, by name.
  std::function<std::map<std::string, double>()> window_values = [] {
    return std::map<std::string, double>();
  };
  /// Texts for every last checkpoint, by name.
  std::map<std::string, std::string> texts;
  /// Whether log and terminal say how long an update takes.
  bool update_seconds = false;
};

/// Trains: takes batches from a source, updates, validates, logs and saves, until the run is over
/// or a signal comes. A run that diverges goes back to a checkpoint with half the learning rate,
/// some times. What is not finite never reaches a checkpoint.
class TrainLoop {
 public:
  /// What is referred to has to outlive the loop.
  TrainLoop(const RunSettings& settings,
            const RunFiles& files,
            const Texts& texts,
            Progress& progress,
            BatchSource& source,
            UpdateStep& step,
            Validator& validator);

  /// Goes on from a checkpoint, `file`. A text is the run's by its content: with another training
  /// text the run begins the next epoch, if that is accepted, and with another validation text (of
  /// an option "valid-...") the search for the best model begins anew. Throws ConfigError for a
  /// text that is not accepted, and CheckpointError.
  void resume(const Checkpoint& checkpoint, const std::string& file, bool accept_changed_text);

  /// Opens the log, of which the entries up to now stay.
  void open_log();

  /// Adds an entry to the log.
  void log(const nlohmann::json& entry);

  /// Trains until something ends it.
  Ending run(Trainee trainee);

  /// Updates done.
  int64_t updates() const { return step_.state().updates; }

 private:
  using Clock = std::chrono::steady_clock;

  Ending train_on();
  std::optional<Ending> over();
  int64_t epochs();
  void update();
  bool log_window();
  void say_verdict();
  void say_advice();
  bool validate(bool regular);
  void save_best(const std::string& file);
  bool finite();
  bool save_last();
  bool go_back();
  void restore(const RunState& state, const Checkpoint& checkpoint, const std::string& file);
  Ending end(Ending ending);

  RunState state() const;
  double seconds() const;
  double tokens_per_second() const;
  Progress::State bar();

  RunSettings settings_;
  RunFiles files_;
  Texts texts_;
  Progress& progress_;
  BatchSource& source_;
  UpdateStep& step_;
  Validator& validator_;
  CheckpointStore store_;
  Recurring valid_time_;
  Recurring save_time_;
  Trainee trainee_;
  std::optional<RunLog> log_;
  std::optional<EventFile> events_;
  std::string trouble_;  // why the run cannot go on like this
  bool log_trouble_said_ = false;
  int64_t went_back_ = 0;
  int64_t log_lines_ = 0;      // of the checkpoint with which the run goes on
  int64_t own_updates_ = 0;    // since it was begun or resumed
  int64_t own_tokens_ = 0;     // likewise
  double own_training_ = 0.0;  // seconds of that, without validation
  double seconds_before_ = 0.0;
  Clock::time_point began_ = Clock::now();
};

}  // namespace evenkeel::examples
