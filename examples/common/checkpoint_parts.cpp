// SPDX-License-Identifier: MIT
#include "checkpoint_parts.hpp"

#include "numbers.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/utils.h>

#include <cstddef>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::examples {

namespace {

constexpr const char* kModel = "model.";
constexpr const char* kAverage = "average.";  // of the parameter of that name

// Parameters and buffers with their names in the checkpoint.
std::vector<std::pair<std::string, torch::Tensor>> tensors_of(const torch::nn::Module& module) {
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  for (const auto& item : module.named_parameters()) {
    tensors.emplace_back(kModel + item.key(), item.value());
  }
  for (const auto& item : module.named_buffers()) {
    tensors.emplace_back(kModel + item.key(), item.value());
  }
  return tensors;
}

// Half types are float32 in a file: another program need not know how a model was trained.
torch::ScalarType stored_type(const torch::Tensor& tensor) {
  const auto type = tensor.scalar_type();
  return type == torch::kBFloat16 || type == torch::kHalf ? torch::kFloat32 : type;
}

std::string told(const torch::Tensor& tensor) {
  return c10::str(tensor.scalar_type(), " of shape ", tensor.sizes());
}

}  // namespace

std::string model_tensor(const std::string& name) {
  return kModel + name;
}

void store_module(Checkpoint& checkpoint, const torch::nn::Module& module) {
  for (const auto& [name, tensor] : tensors_of(module)) {
    checkpoint.tensors[name] = tensor.detach().to(stored_type(tensor));
  }
}

void restore_module(const Checkpoint& checkpoint,
                    const std::string& file,
                    torch::nn::Module& module) {
  const auto tensors = tensors_of(module);
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    const auto options = torch::dtype(stored_type(tensor)).device(torch::kMeta);
    tensor_like(checkpoint, name, torch::empty(tensor.sizes(), options), file);
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

void store_averages(Checkpoint& checkpoint,
                    const torch::nn::Module& module,
                    const std::vector<torch::Tensor>& averages) {
  size_t i = 0;
  for (const auto& item : module.named_parameters()) {
    checkpoint.tensors[kAverage + item.key()] = averages[i++];
  }
}

void restore_averages(const Checkpoint& checkpoint,
                      const std::string& file,
                      const torch::nn::Module& module,
                      const std::vector<torch::Tensor>& averages) {
  size_t i = 0;
  for (const auto& item : module.named_parameters()) {
    const auto& average = averages[i++];
    average.copy_(tensor_like(checkpoint, kAverage + item.key(), average, file));
  }
}

void use_averages(Checkpoint& checkpoint) {
  const std::string prefix = kAverage;
  auto& tensors = checkpoint.tensors;
  for (auto item = tensors.lower_bound(prefix);
       item != tensors.end() && item->first.rfind(prefix, 0) == 0;
       item = tensors.erase(item)) {
    tensors[kModel + item->first.substr(prefix.size())] = item->second;
  }
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

int64_t updates_of(const Checkpoint& checkpoint, const std::string& file) {
  const auto& text = text_of(checkpoint, "step", file);
  const auto step = parse_integer(text);
  if (!step || *step < 0) {
    throw CheckpointError(
        fmt::format("{}: expected its step as an integer from 0, but got {}", file, text));
  }
  return *step;
}

void store_vocabulary(Checkpoint& checkpoint, const char* name, const Vocabulary& vocabulary) {
  const auto& bytes = vocabulary.serialized();
  auto tensor = torch::empty({static_cast<int64_t>(bytes.size())}, torch::kUInt8);
  std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  checkpoint.tensors[name] = tensor;
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

}  // namespace evenkeel::examples
