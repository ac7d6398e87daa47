// SPDX-License-Identifier: MIT
#include "run_folder.hpp"

#include "common/checkpoint_parts.hpp"
#include "common/device.hpp"

#include <utility>

namespace evenkeel::examples::language_model {

namespace {

constexpr const char* kVocabulary = "vocabulary";

}  // namespace

void describe_model(Checkpoint& checkpoint, const Config& config, const Tokenizer& tokenizer) {
  if (const auto& vocabulary = tokenizer.vocabulary()) {
    store_vocabulary(checkpoint, kVocabulary, *vocabulary);
  }
  checkpoint.texts["config"] = settings_to_json(config).dump();
}

Config stored_config(const Checkpoint& checkpoint, const std::string& file) {
  const auto& text = text_of(checkpoint, "config", file);
  try {
    return resolved(settings_from_json(settings_object(text, "config"), Config(), "config"));
  } catch (const ConfigError& error) {
    throw CheckpointError(file + ": " + error.what());
  }
}

Tokenizer stored_tokenizer(const Checkpoint& checkpoint,
                           const Config& config,
                           const std::string& file) {
  if (config.tokens == "bytes") return {};
  return Tokenizer(stored_vocabulary(checkpoint, kVocabulary, file));
}

TrainedModel load_trained(const std::string& folder_or_file, const std::string& device) {
  const auto file = model_file(folder_or_file);
  auto checkpoint = load_checkpoint(file);
  use_averages(checkpoint);
  auto config = stored_config(checkpoint, file);
  config.device = device;
  auto tokenizer = stored_tokenizer(checkpoint, config, file);
  auto model = make_model(config, tokenizer.size());
  restore_module(checkpoint, file, *model);
  model->to(device_of(config.device));
  model->eval();
  return {std::move(config), std::move(tokenizer), std::move(model), updates_of(checkpoint, file)};
}

}  // namespace evenkeel::examples::language_model
