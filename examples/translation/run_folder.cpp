// SPDX-License-Identifier: MIT
#include "run_folder.hpp"

#include <fmt/format.h>

#include <utility>

namespace evenkeel::examples::translation {

namespace {

constexpr const char* kVocabulary = "vocabulary";  // the joint one
constexpr const char* kSourceVocabulary = "vocabulary.source";
constexpr const char* kTargetVocabulary = "vocabulary.target";

}  // namespace

void describe_model(Checkpoint& checkpoint,
                    const Config& config,
                    const Vocabularies& vocabularies) {
  if (vocabularies.joint) {
    store_vocabulary(checkpoint, kVocabulary, vocabularies.source);
  } else {
    store_vocabulary(checkpoint, kSourceVocabulary, vocabularies.source);
    store_vocabulary(checkpoint, kTargetVocabulary, vocabularies.target);
  }
  checkpoint.texts["config"] = to_json(config).dump();
}

Config stored_config(const Checkpoint& checkpoint, const std::string& file) {
  const auto& text = text_of(checkpoint, "config", file);
  try {
    return resolved(config_from_text(text, "config"));
  } catch (const ConfigError& error) {
    throw CheckpointError(file + ": " + error.what());
  }
}

Vocabularies stored_vocabularies(const Checkpoint& checkpoint, const std::string& file) {
  const bool separate = checkpoint.tensors.count(kSourceVocabulary) != 0;
  if (!separate) return Vocabularies(stored_vocabulary(checkpoint, kVocabulary, file));
  return {stored_vocabulary(checkpoint, kSourceVocabulary, file),
          stored_vocabulary(checkpoint, kTargetVocabulary, file)};
}

TrainedModel load_trained(const std::string& folder_or_file, const std::string& device) {
  const auto file = model_file(folder_or_file);
  auto checkpoint = load_checkpoint(file);
  use_averages(checkpoint);
  auto config = stored_config(checkpoint, file);
  config.device = device;
  auto vocabularies = stored_vocabularies(checkpoint, file);
  auto model = make_model(config, vocabularies.sizes());
  restore_module(checkpoint, file, *model);
  const auto target = device_of(config.device);
  if (target.is_cuda()) prefer_short_attention();
  model->to(target);
  model->eval();
  return {std::move(config),
          std::move(vocabularies),
          std::move(model),
          updates_of(checkpoint, file)};
}

std::vector<TrainedModel> load_ensemble(const std::vector<std::string>& folders_or_files,
                                        const std::string& device) {
  std::vector<TrainedModel> ensemble;
  for (const auto& each : folders_or_files) {
    ensemble.push_back(load_trained(each, device));
    const auto& [source, target, joint] = ensemble.front().vocabularies;
    const auto& other = ensemble.back().vocabularies;
    if (other.joint == joint && other.source.serialized() == source.serialized() &&
        other.target.serialized() == target.serialized()) {
      continue;
    }
    throw ConfigError(
        fmt::format("--run-dir: expected models of one vocabulary, but those of {} and {} differ",
                    folders_or_files.front(),
                    each));
  }
  return ensemble;
}

Models models_of(const std::vector<TrainedModel>& ensemble) {
  Models models;
  for (const auto& trained : ensemble) models.push_back(trained.model.ptr().get());
  return models;
}

}  // namespace evenkeel::examples::translation
