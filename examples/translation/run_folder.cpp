// SPDX-License-Identifier: MIT
#include "run_folder.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/utils.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::translation {

namespace {

constexpr const char* kModel = "model.";
constexpr const char* kVocabulary = "vocabulary";

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

const std::string& text(const Checkpoint& checkpoint, const char* name, const std::string& file) {
  const auto found = checkpoint.texts.find(name);
  if (found == checkpoint.texts.end()) {
    throw CheckpointError(fmt::format("{}: expected {} in it, but there is none", file, name));
  }
  return found->second;
}

}  // namespace

void store_model(Checkpoint& checkpoint,
                 const Config& config,
                 const Vocabulary& vocabulary,
                 nn::TransformerImpl& model,
                 int64_t step) {
  for (const auto& [name, tensor] : tensors_of(model)) checkpoint.tensors[name] = tensor;
  const auto& bytes = vocabulary.serialized();
  auto pieces = torch::empty({static_cast<int64_t>(bytes.size())}, torch::kUInt8);
  std::memcpy(pieces.data_ptr(), bytes.data(), bytes.size());
  checkpoint.tensors[kVocabulary] = pieces;
  checkpoint.texts["config"] = to_json(config).dump();
  checkpoint.texts["step"] = std::to_string(step);
}

void restore_model(const Checkpoint& checkpoint,
                   const std::string& file,
                   nn::TransformerImpl& model) {
  const auto tensors = tensors_of(model);
  for (const auto& [name, tensor] : tensors) {
    const auto found = checkpoint.tensors.find(name);
    if (found == checkpoint.tensors.end() || found->second.sizes() != tensor.sizes()) {
      throw CheckpointError(fmt::format("{}: expected {} of shape {}, but it is {}",
                                        file,
                                        name,
                                        c10::str(tensor.sizes()),
                                        found == checkpoint.tensors.end()
                                            ? "missing"
                                            : c10::str("of shape ", found->second.sizes())));
    }
  }
  const torch::NoGradGuard no_grad;
  for (auto [name, tensor] : tensors) tensor.copy_(checkpoint.tensors.at(name));
}

Config stored_config(const Checkpoint& checkpoint, const std::string& file) {
  const auto json =
      nlohmann::json::parse(text(checkpoint, "config", file), nullptr, /*allow_exceptions=*/false);
  return from_json(json);
}

Vocabulary stored_vocabulary(const Checkpoint& checkpoint, const std::string& file) {
  const auto found = checkpoint.tensors.find(kVocabulary);
  if (found == checkpoint.tensors.end()) {
    throw CheckpointError(file + ": expected a vocabulary in it, but there is none");
  }
  return Vocabulary::load(std::string_view(static_cast<const char*>(found->second.data_ptr()),
                                           static_cast<size_t>(found->second.numel())));
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
  auto vocabulary = stored_vocabulary(checkpoint, file);
  auto model = make_model(config, vocabulary.size());
  restore_model(checkpoint, file, *model);
  const auto target = device_of(config);
  if (target.is_cuda()) prefer_short_attention();
  model->to(target);
  model->eval();
  return {std::move(config),
          std::move(vocabulary),
          std::move(model),
          std::stoll(text(checkpoint, "step", file))};
}

}  // namespace evenkeel::translation
