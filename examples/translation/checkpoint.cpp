// SPDX-License-Identifier: MIT
#include "checkpoint.hpp"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace evenkeel::translation {

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

constexpr uint64_t kLargestHeader = 100'000'000;  // as in the format

[[noreturn]] void fail(const std::string& file, const std::string& why) {
  throw CheckpointError(fmt::format("{}: {}", file, why));
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

// A file that is removed unless it is renamed; write() writes all of its argument.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string target)
      : target_(std::move(target)), name_(target_ + ".part") {
    descriptor_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor_ < 0) fail(name_, std::strerror(errno));
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    ::unlink(name_.c_str());
  }

  void write(const void* data, size_t size) {
    const char* bytes = static_cast<const char*>(data);
    while (size > 0) {
      const auto written = ::write(descriptor_, bytes, size);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail(name_, std::strerror(errno));
      bytes += written;
      size -= static_cast<size_t>(written);
    }
  }

  void commit() {
    if (::fsync(descriptor_) != 0) fail(name_, std::strerror(errno));
    const int descriptor = std::exchange(descriptor_, -1);
    if (::close(descriptor) != 0 || ::rename(name_.c_str(), target_.c_str()) != 0) {
      const int error = errno;
      ::unlink(name_.c_str());
      fail(target_, std::strerror(error));
    }
  }

 private:
  std::string target_;
  std::string name_;
  int descriptor_ = -1;
};

}  // namespace

void save_checkpoint(const Checkpoint& checkpoint, const std::string& file) {
  json header = json::object();
  header["__metadata__"] = checkpoint.texts;
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
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // aligns the tensors
  const uint64_t size = text.size();

  TemporaryFile part(file);
  part.write(&size, sizeof size);
  part.write(text.data(), text.size());
  for (const auto& tensor : tensors) part.write(tensor.data_ptr(), tensor.nbytes());
  part.commit();
}

Checkpoint load_checkpoint(const std::string& file) {
  std::error_code error;
  const auto file_size = std::filesystem::file_size(file, error);
  if (error) fail(file, error.message());
  std::ifstream stream(file, std::ios::binary);
  uint64_t header_size = 0;
  if (!stream.read(reinterpret_cast<char*>(&header_size), sizeof header_size) ||
      header_size > kLargestHeader || header_size > file_size - sizeof header_size) {
    fail(file, "expected a checkpoint of format safetensors, but its header is cut off or damaged");
  }
  std::string text(header_size, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(header_size));
  const auto header = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) fail(file, "expected a JSON header, but it is damaged");
  const uint64_t data_size = file_size - sizeof header_size - header_size;

  Checkpoint checkpoint;
  try {
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        checkpoint.texts = entry.get<std::map<std::string, std::string>>();
        continue;
      }
      const auto shape = entry.at("shape").get<std::vector<int64_t>>();
      const auto [begin, end] = entry.at("data_offsets").get<std::pair<uint64_t, uint64_t>>();
      const auto type = entry.at("dtype").get<std::string>();
      const auto known = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& candidate) {
        return type == candidate.first;
      });
      if (known == kTypes.end()) fail(file, fmt::format("{} is of unknown type {}", name, type));
      if (begin > end || end > data_size ||
          !holds(end - begin, shape, c10::elementSize(known->second))) {
        fail(file, fmt::format("{} does not fit in the file, which is cut off or damaged", name));
      }
      const auto tensor = torch::empty(shape, known->second);
      stream.seekg(static_cast<std::streamoff>(sizeof header_size + header_size + begin));
      if (tensor.nbytes() > 0 && !stream.read(static_cast<char*>(tensor.data_ptr()),
                                              static_cast<std::streamsize>(tensor.nbytes()))) {
        fail(file, fmt::format("{} cannot be read", name));
      }
      checkpoint.tensors.emplace(name, tensor);
    }
  } catch (const json::exception& damage) {
    fail(file, fmt::format("its header is damaged: {}", damage.what()));
  }
  return checkpoint;
}

}  // namespace evenkeel::translation
