// SPDX-License-Identifier: MIT
#pragma once

#include "batches.hpp"
#include "checkpoint.hpp"
#include "config.hpp"
#include "corpus.hpp"
#include "progress.hpp"
#include "run_folder.hpp"
#include "run_log.hpp"
#include "run_state.hpp"
#include "train.hpp"

#include <evenkeel/diagnose/admin_profile.hpp>
#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/train/fused_adam.hpp>

#include <torch/types.h>
#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel::translation {

/// One run, in a folder that is its own; see `train()`.
class Trainer {
 public:
  /// Reads all text and builds the model, or takes them from a checkpoint.
  Trainer(const Config& config, std::optional<Checkpoint> checkpoint, bool accept_changed_text);

  /// Trains until something ends it.
  Ending run();

 private:
  using Clock = std::chrono::steady_clock;

  void make_vocabularies();
  template <typename Text>
  Vocabulary make_vocabulary(const std::string& file, const Text& text, const char* what);
  void compare_texts(const std::map<std::string, Fingerprint>& stored, bool accept_changed_text);
  void fit_validation();
  AdminProfile profile();
  void restore(const Checkpoint& checkpoint);
  void say_what_is_trained();

  Ending train_on();
  std::vector<Batch> next_batches();
  void update(const std::vector<Batch>& batches);
  double window_loss();
  bool log_window();
  bool validate_now();
  void keep_if_best(double score, const std::string& score_of);
  bool finite();
  bool save_due() const;
  bool save_last();
  void keep_earlier();
  bool go_back();
  Ending end(Ending ending);
  void log(const nlohmann::json& entry);
  void advise();

  double seconds() const;
  double share() const;
  double tokens_per_second() const;
  double learning_rate() const;
  Progress::State progress();

  Config config_;
  RunFolder folder_;
  torch::Device device_;
  bool bfloat16_;
  Progress progress_{stderr};
  Corpus train_;
  Corpus valid_;
  std::optional<Vocabularies> vocabularies_;
  nn::Transformer<> model_;
  std::optional<train::FusedAdam> optimizer_;
  std::optional<BatchSchedule> schedule_;
  std::optional<RunLog> log_;
  std::string profile_;                      // with which a profiled scheme began
  bool gains_change_ = true;                 // gains that follow the training step
  std::vector<std::vector<int64_t>> epoch_;  // batches of the epoch that `state_` names
  int64_t loaded_epoch_ = -1;
  RunState state_;
  torch::Tensor device_loss_;  // sum since the last look, on the device
  std::string trouble_;        // why the run cannot go on like this
  bool log_trouble_said_ = false;
  int64_t logged_step_ = 0;       // of the last line of the log
  int64_t skipped_ = 0;           // updates that were left out, as the log has it
  int64_t skipped_in_a_row_ = 0;  // up to the last line of the log
  int64_t saved_step_ = -1;       // of last.safetensors
  int64_t went_back_to_ = -1;     // update at which it stood when it went back last
  int64_t own_tokens_ = 0;        // since it was begun or resumed
  double own_training_ = 0.0;     // seconds of that, without validation
  double seconds_before_ = 0.0;
  Clock::time_point began_;
  Clock::time_point saved_at_;
};

}  // namespace evenkeel::translation
