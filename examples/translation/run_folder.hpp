// SPDX-License-Identifier: MIT
#pragma once

#include "checkpoint.hpp"
#include "config.hpp"
#include "model.hpp"
#include "vocabulary.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace evenkeel::translation {

/// The files of a run.
struct RunFolder {
  explicit RunFolder(const std::string& folder)
      : path(folder),
        lock(folder + "/run.lock"),
        config(folder + "/config.json"),
        vocabulary(folder + "/vocabulary.model"),
        source_vocabulary(folder + "/vocabulary.source.model"),
        target_vocabulary(folder + "/vocabulary.target.model"),
        profile(folder + "/profile.ratio.init"),
        log(folder + "/log.jsonl"),
        last(folder + "/last.safetensors"),
        best(folder + "/best.safetensors") {}

  /// The checkpoint of an update before the last that is kept.
  std::string earlier(int64_t step) const {
    return path + "/step-" + std::to_string(step) + ".safetensors";
  }

  std::string path;
  std::string lock;
  std::string config;
  std::string vocabulary;  // where it is joint
  std::string source_vocabulary;
  std::string target_vocabulary;
  std::string profile;
  std::string log;
  std::string last;
  std::string best;
};

/// A trained model with everything that is needed to translate.
struct TrainedModel {
  Config config;
  Vocabularies vocabularies;
  nn::Transformer<> model;
  int64_t step;
};

/// The last checkpoint of a run. The error for one that cannot be used names the one before it.
Checkpoint load_last(const RunFolder& folder);

/// Adds the model's parameters and buffers, the config and the vocabularies.
void store_model(Checkpoint& checkpoint,
                 const Config& config,
                 const Vocabularies& vocabularies,
                 nn::TransformerImpl& model,
                 int64_t step);

/// Copies parameters and buffers into `model`. Throws CheckpointError, and changes nothing, if one
/// is missing, of another shape or dtype, or not finite, and if there are others.
void restore_model(const Checkpoint& checkpoint,
                   const std::string& file,
                   nn::TransformerImpl& model);

/// A tensor of a checkpoint. Throws CheckpointError unless it is there, of the shape and dtype of
/// `like` and finite.
const torch::Tensor& tensor_like(const Checkpoint& checkpoint,
                                 const std::string& name,
                                 const torch::Tensor& like,
                                 const std::string& file);

/// The text of that name in a checkpoint. Throws CheckpointError if there is none.
const std::string& text_of(const Checkpoint& checkpoint, const char* name, const std::string& file);

/// The config in a checkpoint.
Config stored_config(const Checkpoint& checkpoint, const std::string& file);

/// The vocabularies in a checkpoint.
Vocabularies stored_vocabularies(const Checkpoint& checkpoint, const std::string& file);

/// Loads the model of a run folder, the best one if there is one, otherwise the last; or of a
/// checkpoint file. `device` is "auto", "cpu", "cuda" or "cuda:N".
TrainedModel load_trained(const std::string& folder_or_file, const std::string& device);

}  // namespace evenkeel::translation
