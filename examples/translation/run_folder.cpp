// SPDX-License-Identifier: MIT
#include "run_folder.hpp"

#include "numbers.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace evenkeel::translation {

namespace {

constexpr const char* kModel = "model.";
constexpr const char* kVocabulary = "vocabulary";  // the joint one
constexpr const char* kSourceVocabulary = "vocabulary.source";
constexpr const char* kTargetVocabulary = "vocabulary.target";

// Parameters and buffers with their names in the checkpoint.
std::vector<std::pair<std::string, torch::Tensor>> tensors_of(nn::TransformerImpl& model) {
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  for (const auto& item : model.named_parameters()) {
    tensors.emplace_back(kModel + item.key(), item.value());
  }
  for (const auto& item : model.named_buffers()) {
    tensors.emplace_back(kModel + item.key(), item.value());
  }
  return tensors;
}

torch::Tensor bytes_of(const Vocabulary& vocabulary) {
  const auto& bytes = vocabulary.serialized();
  auto tensor = torch::empty({static_cast<int64_t>(bytes.size())}, torch::kUInt8);
  std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

Vocabulary stored_vocabulary(const Checkpoint& checkpoint,
                             const char* name,
                             const std::string& file) {
  const auto found = checkpoint.tensors.find(name);
  if (found == checkpoint.tensors.end() || found->second.scalar_type() != torch::kUInt8) {
    throw CheckpointError(fmt::format("{}: expected a {} in it, but there is none", file, name));
  }
  try {
    return Vocabulary::load(std::string_view(static_cast<const char*>(found->second.data_ptr()),
                                             static_cast<size_t>(found->second.numel())));
  } catch (const VocabularyError& error) {
    throw CheckpointError(fmt::format("{}: {}: {}", file, name, error.what()));
  }
}

std::string told(const torch::Tensor& tensor) {
  return c10::str(tensor.scalar_type(), " of shape ", tensor.sizes());
}

}  // namespace

Checkpoint load_last(const RunFolder& folder) {
  try {
    return load_checkpoint(folder.last);
  } catch (const CheckpointError& error) {
    std::optional<int64_t> newest;
    std::error_code no_folder;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path, no_folder)) {
      const auto name = entry.path().stem().string();  // step-N
      const auto step =
          parse_integer(std::string_view(name).substr(std::min<size_t>(5, name.size())));
      if (!step || entry.path().string() != folder.earlier(*step)) continue;
      newest = std::max(newest.value_or(*step), *step);
    }
    std::error_code unknown;
    if (!newest && !std::filesystem::exists(folder.last, unknown)) {
      throw CheckpointError(std::string(error.what()) +
                            "; a run without a checkpoint is begun again without --resume");
    }
    if (!newest) throw;
    throw CheckpointError(fmt::format("{}; to go on from the checkpoint before it, rename {} to {}",
                                      error.what(),
                                      folder.earlier(*newest),
                                      folder.last));
  }
}

void store_model(Checkpoint& checkpoint,
                 const Config& config,
                 const Vocabularies& vocabularies,
                 nn::TransformerImpl& model,
                 int64_t step) {
  for (const auto& [name, tensor] : tensors_of(model)) checkpoint.tensors[name] = tensor;
  if (vocabularies.joint) {
    checkpoint.tensors[kVocabulary] = bytes_of(vocabularies.source);
  } else {
    checkpoint.tensors[kSourceVocabulary] = bytes_of(vocabularies.source);
    checkpoint.tensors[kTargetVocabulary] = bytes_of(vocabularies.target);
  }
  checkpoint.texts["config"] = to_json(config).dump();
  checkpoint.texts["step"] = std::to_string(step);
}

const torch::Tensor& tensor_like(const Checkpoint& checkpoint,
                                 const std::string& name,
                                 const torch::Tensor& like,
                                 const std::string& file) {
  const auto found = checkpoint.tensors.find(name);
  const bool there = found != checkpoint.tensors.end();
  if (!there || found->second.sizes() != like.sizes() ||
      found->second.scalar_type() != like.scalar_type()) {
    throw CheckpointError(fmt::format("{}: expected {}, {}, but it is {}",
                                      file,
                                      name,
                                      told(like),
                                      there ? told(found->second) : "missing"));
  }
  if (!all_finite({found->second})) {
    throw CheckpointError(
        fmt::format("{}: expected {} to be finite, but there are NaN or infinite values in it",
                    file,
                    name));
  }
  return found->second;
}

const std::string& text_of(const Checkpoint& checkpoint,
                           const char* name,
                           const std::string& file) {
  const auto found = checkpoint.texts.find(name);
  if (found == checkpoint.texts.end()) {
    throw CheckpointError(fmt::format("{}: expected {} in it, but there is none", file, name));
  }
  return found->second;
}

void restore_model(const Checkpoint& checkpoint,
                   const std::string& file,
                   nn::TransformerImpl& model) {
  const auto tensors = tensors_of(model);
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    tensor_like(checkpoint, name, tensor, file);
    names.insert(name);
  }
  for (const auto& item : checkpoint.tensors) {
    if (item.first.rfind(kModel, 0) == 0 && names.count(item.first) == 0) {
      throw CheckpointError(fmt::format(
          "{}: expected the tensors of the model that its config has, but {} is another",
          file,
          item.first));
    }
  }
  const torch::NoGradGuard no_grad;
  for (auto [name, tensor] : tensors) tensor.copy_(checkpoint.tensors.at(name));
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
  std::string file = folder_or_file;
  if (std::filesystem::is_directory(file)) {
    const RunFolder folder(folder_or_file);
    file = std::filesystem::exists(folder.best) ? folder.best : folder.last;
  }
  const auto checkpoint = load_checkpoint(file);
  auto config = stored_config(checkpoint, file);
  config.device = device;
  auto vocabularies = stored_vocabularies(checkpoint, file);
  auto model = make_model(config, vocabularies.sizes());
  restore_model(checkpoint, file, *model);
  const auto target = device_of(config);
  if (target.is_cuda()) prefer_short_attention();
  model->to(target);
  model->eval();
  const auto step = parse_integer(text_of(checkpoint, "step", file));
  if (!step || *step < 0) {
    throw CheckpointError(fmt::format("{}: expected its step as an integer from 0, but got {}",
                                      file,
                                      text_of(checkpoint, "step", file)));
  }
  return {std::move(config), std::move(vocabularies), std::move(model), *step};
}

}  // namespace evenkeel::translation
