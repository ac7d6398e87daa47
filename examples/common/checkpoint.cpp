// SPDX-License-Identifier: MIT
#include "checkpoint.hpp"

#include "checksum.hpp"
#include "files.hpp"
#include "json_text.hpp"

#include <evenkeel/fold/safetensors.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/utils.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::examples {

namespace {

using nlohmann::json;

constexpr const char* kChecksums = "checksums";
constexpr const char* kHeaderChecksum = "header_checksum";

[[noreturn]] void fail(const std::string& file, const std::string& why) {
  throw CheckpointError(fmt::format("{}: {}", file, why));
}

// The header's, without itself.
std::string header_checksum(const StateDict& tensors, SafetensorsMetadata texts) {
  texts.erase(kHeaderChecksum);
  return Checksum().add(json::parse(safetensors_header(tensors, texts)).dump()).hex();
}

std::string checksum_of(const torch::Tensor& tensor) {
  return Checksum().add(tensor.const_data_ptr(), tensor.nbytes()).hex();
}

// Takes the checksums out of the texts and compares them.
void verify(Checkpoint& checkpoint, const std::string& file) {
  auto& texts = checkpoint.texts;
  if (texts.count(kHeaderChecksum) == 0 || texts.count(kChecksums) == 0) {
    fail(file, "expected a checkpoint of evenkeel, but it has no checksums");
  }
  if (texts.at(kHeaderChecksum) != header_checksum(checkpoint.tensors, texts)) {
    fail(file, "its header does not match its checksum: it is damaged, or was changed");
  }
  const auto sums = parse_json(texts.at(kChecksums));
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (sums.value(name, "") != checksum_of(tensor)) {
      fail(file, fmt::format("{} does not match its checksum: the file is damaged", name));
    }
  }
  texts.erase(kHeaderChecksum);
  texts.erase(kChecksums);
}

}  // namespace

void save_checkpoint(const Checkpoint& checkpoint, const std::string& file) {
  StateDict tensors;
  auto texts = checkpoint.texts;
  try {
    auto checksums = json::object();
    for (const auto& [name, tensor] : checkpoint.tensors) {
      const auto& stored = tensors[name] = tensor.detach().cpu().contiguous();
      checksums[name] = checksum_of(stored);
    }
    texts[kChecksums] = checksums.dump();
    texts[kHeaderChecksum] = header_checksum(tensors, texts);
  } catch (const c10::ValueError& error) {
    fail(file, error.what_without_backtrace());
  }
  FileWriter writer(file);
  write_safetensors(tensors, texts, [&](std::string_view bytes) { writer.write(bytes); });
  writer.commit();
}

Checkpoint load_checkpoint(const std::string& file) {
  Checkpoint checkpoint;
  try {
    auto read = read_safetensors(file);
    checkpoint.tensors = std::move(read.tensors);
    checkpoint.texts = std::move(read.metadata);
  } catch (const c10::ValueError& error) {
    throw CheckpointError(error.what_without_backtrace());
  }
  try {
    verify(checkpoint, file);
  } catch (const json::exception& damage) {
    fail(file, fmt::format("its checksums are damaged: {}", damage.what()));
  } catch (const JsonError& damage) {
    fail(file, fmt::format("its checksums are damaged: {}", damage.what()));
  }
  return checkpoint;
}

bool all_finite(const std::vector<torch::Tensor>& tensors) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> finite;
  for (const auto& tensor : tensors) {
    if (tensor.is_floating_point()) finite.push_back(tensor.isfinite().all());
  }
  return finite.empty() || torch::stack(finite).all().item<bool>();
}

}  // namespace evenkeel::examples
