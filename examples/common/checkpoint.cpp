// SPDX-License-Identifier: MIT
#include "checkpoint.hpp"

#include "checksum.hpp"
#include "files.hpp"
#include "json_text.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/utils.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::examples {

namespace {

using nlohmann::json;

constexpr std::array kTypes{std::pair{"F64", torch::kFloat64},
                            std::pair{"F32", torch::kFloat32},
                            std::pair{"F16", torch::kFloat16},
                            std::pair{"BF16", torch::kBFloat16},
                            std::pair{"I64", torch::kInt64},
                            std::pair{"I32", torch::kInt32},
                            std::pair{"U8", torch::kUInt8},
                            std::pair{"BOOL", torch::kBool}};

constexpr const char* kChecksums = "checksums";
constexpr const char* kHeaderChecksum = "header_checksum";
constexpr uint64_t kLargestHeader = 100'000'000;  // as the format has it

[[noreturn]] void fail(const std::string& file, const std::string& why) {
  throw CheckpointError(fmt::format("{}: {}", file, why));
}

// nlohmann-json itself takes 2.5 and true for integers.
uint64_t count_of(const json& value) {
  if (!value.is_number_unsigned()) throw JsonError("expected a count, but got " + value.dump());
  return value.get<uint64_t>();
}

// Returns whether a tensor of that shape has exactly `bytes`, without overflow.
bool holds(uint64_t bytes, const std::vector<int64_t>& shape, uint64_t element_size) {
  uint64_t total = element_size;
  for (const auto size : shape) {
    if (size < 0 || (size > 0 && total > bytes / static_cast<uint64_t>(size))) return false;
    total *= static_cast<uint64_t>(size);
  }
  return total == bytes;
}

// The header without its own checksum.
std::string checksum_of(json header) {
  header["__metadata__"].erase(kHeaderChecksum);
  return Checksum().add(header.dump()).hex();
}

std::string checksum_of(const torch::Tensor& tensor) {
  return Checksum().add(tensor.const_data_ptr(), tensor.nbytes()).hex();
}

// Takes the checksums out of the texts and compares them.
void verify(Checkpoint& checkpoint, const json& header, const std::string& file) {
  auto& texts = checkpoint.texts;
  if (texts.count(kHeaderChecksum) == 0 || texts.count(kChecksums) == 0) {
    fail(file, "expected a checkpoint of evenkeel, but it has no checksums");
  }
  if (texts.at(kHeaderChecksum) != checksum_of(header)) {
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
  json header = json::object();
  auto& texts = header["__metadata__"] = checkpoint.texts;
  auto checksums = json::object();
  std::vector<torch::Tensor> tensors;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    const char* type = nullptr;
    for (const auto& [known, scalar_type] : kTypes) {
      if (tensor.scalar_type() == scalar_type) type = known;
    }
    if (type == nullptr) fail(file, fmt::format("{} has a type that is not stored", name));
    tensors.push_back(tensor.detach().cpu().contiguous());
    const uint64_t end = offset + tensors.back().nbytes();
    header[name] = {{"dtype", type},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, end}}};
    checksums[name] = checksum_of(tensors.back());
    offset = end;
  }
  texts[kChecksums] = checksums.dump();
  texts[kHeaderChecksum] = checksum_of(header);
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // aligns the tensors
  const uint64_t size = text.size();

  const auto bytes = [](const void* data, size_t count) {
    return std::string_view(static_cast<const char*>(data), count);
  };
  FileWriter writer(file);
  writer.write(bytes(&size, sizeof size));
  writer.write(text);
  for (const auto& tensor : tensors) writer.write(bytes(tensor.const_data_ptr(), tensor.nbytes()));
  writer.commit();
}

Checkpoint load_checkpoint(const std::string& file) {
  std::error_code error;
  const auto file_size = std::filesystem::file_size(file, error);
  if (error) fail(file, error.message());
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) fail(file, std::strerror(errno));
  uint64_t header_size = 0;
  if (!stream.read(reinterpret_cast<char*>(&header_size), sizeof header_size) ||
      header_size > kLargestHeader || header_size > file_size - sizeof header_size) {
    fail(file, "expected a checkpoint of format safetensors, but its header is cut off or damaged");
  }
  std::string text(header_size, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(header_size));
  json header;
  try {
    header = parse_json(text);
  } catch (const JsonError& damage) {
    fail(file, fmt::format("its header is damaged: {}", damage.what()));
  }
  if (!header.is_object()) fail(file, "expected a JSON object as its header");
  const uint64_t data_size = file_size - sizeof header_size - header_size;

  Checkpoint checkpoint;
  std::map<uint64_t, uint64_t> spans;  // of the data that tensors have, begin to end
  try {
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        checkpoint.texts = entry.get<std::map<std::string, std::string>>();
        continue;
      }
      std::vector<int64_t> shape;
      for (const auto& size : entry.at("shape").get_ref<const json::array_t&>()) {
        shape.push_back(static_cast<int64_t>(count_of(size)));
      }
      const auto begin = count_of(entry.at("data_offsets").at(0));
      const auto end = count_of(entry.at("data_offsets").at(1));
      const auto type = entry.at("dtype").get<std::string>();
      const auto known = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& candidate) {
        return type == candidate.first;
      });
      if (known == kTypes.end()) fail(file, fmt::format("{} is of unknown type {}", name, type));
      if (begin > end || end > data_size ||
          !holds(end - begin, shape, c10::elementSize(known->second))) {
        fail(file, fmt::format("{} does not fit in the file, which is cut off or damaged", name));
      }
      if (begin < end) spans[begin] = end;
      const auto tensor = torch::empty(shape, known->second);
      stream.seekg(static_cast<std::streamoff>(sizeof header_size + header_size + begin));
      if (tensor.nbytes() > 0 && !stream.read(static_cast<char*>(tensor.data_ptr()),
                                              static_cast<std::streamsize>(tensor.nbytes()))) {
        fail(file, fmt::format("{} cannot be read", name));
      }
      checkpoint.tensors.emplace(name, tensor);
    }
    uint64_t covered = 0;
    for (const auto& [begin, end] : spans) covered = begin == covered ? end : data_size + 1;
    if (covered != data_size) {
      fail(file, "expected tensors to fill the file, but there are other bytes in it or behind it");
    }
    verify(checkpoint, header, file);
  } catch (const json::exception& damage) {
    fail(file, fmt::format("its header is damaged: {}", damage.what()));
  } catch (const JsonError& damage) {
    fail(file, fmt::format("its header is damaged: {}", damage.what()));
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
