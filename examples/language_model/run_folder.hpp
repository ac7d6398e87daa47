// SPDX-License-Identifier: MIT
#pragma once

#include "common/checkpoint.hpp"
#include "common/run_files.hpp"
#include "config.hpp"
#include "model.hpp"
#include "tokenizer.hpp"

#include <evenkeel/nn/language_model.hpp>

#include <cstdint>
#include <string>

namespace evenkeel::examples::language_model {

/// The files of a run.
struct RunFolder : RunFiles {
  explicit RunFolder(const std::string& folder)
      : RunFiles(folder),
        vocabulary(folder + "/vocabulary.model"),
        profile(folder + "/profile.ratio.init") {}

  std::string vocabulary;  // where tokens are pieces
  std::string profile;     // of the scheme admin-profiled
};

/// A trained model with everything that is needed to generate text.
struct TrainedModel {
  Config config;
  Tokenizer tokenizer;
  nn::LanguageModel<> model;
  int64_t step;
};

/// Adds config and vocabulary: what is needed to use a model, beside its weights.
void describe_model(Checkpoint& checkpoint, const Config& config, const Tokenizer& tokenizer);

/// The config in a checkpoint.
Config stored_config(const Checkpoint& checkpoint, const std::string& file);

/// The tokenizer of a checkpoint.
Tokenizer stored_tokenizer(const Checkpoint& checkpoint,
                           const Config& config,
                           const std::string& file);

/// Loads the model of a run folder, the best one if there is one, otherwise the last; or of a
/// checkpoint file. `device` is "auto", "cpu", "cuda" or "cuda:N".
TrainedModel load_trained(const std::string& folder_or_file, const std::string& device);

}  // namespace evenkeel::examples::language_model
