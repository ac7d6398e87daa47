// SPDX-License-Identifier: MIT
#pragma once

#include "common/checkpoint.hpp"
#include "common/checkpoint_parts.hpp"
#include "common/run_files.hpp"
#include "config.hpp"
#include "ensemble.hpp"
#include "model.hpp"
#include "vocabularies.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// The files of a run.
struct RunFolder : RunFiles {
  explicit RunFolder(const std::string& folder)
      : RunFiles(folder),
        vocabulary(folder + "/vocabulary.model"),
        source_vocabulary(folder + "/vocabulary.source.model"),
        target_vocabulary(folder + "/vocabulary.target.model"),
        profile(folder + "/profile.ratio.init") {}

  std::string vocabulary;  // where it is joint
  std::string source_vocabulary;
  std::string target_vocabulary;
  std::string profile;
};

/// A trained model with everything that is needed to translate.
struct TrainedModel {
  Config config;
  Vocabularies vocabularies;
  nn::Transformer<> model;
  int64_t step;
};

/// Adds config and vocabularies: what is needed to use a model, beside its weights.
void describe_model(Checkpoint& checkpoint, const Config& config, const Vocabularies& vocabularies);

/// The config in a checkpoint.
Config stored_config(const Checkpoint& checkpoint, const std::string& file);

/// The vocabularies in a checkpoint.
Vocabularies stored_vocabularies(const Checkpoint& checkpoint, const std::string& file);

/// Loads the model of a run folder, the best one if there is one, otherwise the last; or of a
/// checkpoint file. `device` is "auto", "cpu", "cuda" or "cuda:N".
TrainedModel load_trained(const std::string& folder_or_file, const std::string& device);

/// Loads several that translate together. Throws ConfigError unless their vocabularies are the
/// same.
std::vector<TrainedModel> load_ensemble(const std::vector<std::string>& folders_or_files,
                                        const std::string& device);

/// Their models, the ensemble's own.
Models models_of(const std::vector<TrainedModel>& ensemble);

}  // namespace evenkeel::examples::translation
