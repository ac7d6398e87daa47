// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/json_text.hpp>
#include <evenkeel/fold/detail/safetensors_format.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/types.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace evenkeel {

/// Tensors by their names, in the order of the names.
using StateDict = std::map<std::string, torch::Tensor>;

/// The texts of a safetensors file, in UTF-8.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// What a safetensors file holds. Format: https://github.com/huggingface/safetensors
struct SafetensorsFile {
  StateDict tensors;  ///< On the CPU, contiguous.
  SafetensorsMetadata metadata;
};

/// The JSON header of a safetensors file with these tensors, in the order of their names. Throws
/// c10::Error, naming it, for a tensor of a dtype that the format does not have, a sparse one,
/// and a name or text that is not UTF-8.
inline std::string safetensors_header(const StateDict& tensors,
                                      const SafetensorsMetadata& metadata = {}) {
  std::string header;
  const auto add = [&](std::string_view name, const std::string& value) {
    header += (header.empty() ? "{" : ",") + detail::json_string(name) + ":" + value;
  };
  if (!metadata.empty()) {
    std::string texts;
    for (const auto& [name, text] : metadata) {
      texts += (texts.empty() ? "{" : ",") + detail::json_string(name) + ":";
      texts += detail::json_string(text);
    }
    add(detail::kSafetensorsMetadata, texts + "}");
  }
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    TORCH_CHECK_VALUE(name != detail::kSafetensorsMetadata,
                      "safetensors: a tensor cannot be called ",
                      name);
    TORCH_CHECK_VALUE(tensor.defined() && tensor.layout() == torch::kStrided,
                      "safetensors: expected ",
                      name,
                      " to be a dense tensor, but it is ",
                      tensor.defined() ? "of another layout" : "undefined");
    const auto* type = detail::safetensors_type(tensor.scalar_type());
    TORCH_CHECK_VALUE(type != nullptr,
                      "safetensors: ",
                      name,
                      " is of type ",
                      tensor.scalar_type(),
                      ", which the format does not have");
    std::string shape;
    for (const auto size : tensor.sizes()) {
      shape += (shape.empty() ? "" : ",") + std::to_string(size);
    }
    const auto end = offset + tensor.nbytes();
    add(name,
        fmt::format(R"({{"data_offsets":[{},{}],"dtype":"{}","shape":[{}]}})",
                    offset,
                    end,
                    type,
                    shape));
    offset = end;
  }
  return header.empty() ? "{}" : header + "}";
}

/// Passes the bytes of a safetensors file to `write`, in pieces; see `save_safetensors` for a file.
/// Throws as `safetensors_header`, before the first piece.
inline void write_safetensors(const StateDict& tensors,
                              const SafetensorsMetadata& metadata,
                              const std::function<void(std::string_view)>& write) {
  auto header = safetensors_header(tensors, metadata);
  header.append((8 - header.size() % 8) % 8, ' ');  // aligns the tensors
  TORCH_CHECK_VALUE(header.size() <= detail::kLargestSafetensorsHeader,
                    "safetensors: expected a header of at most 100 MB, but got ",
                    header.size(),
                    " bytes");
  const uint64_t size = header.size();
  write({reinterpret_cast<const char*>(&size), sizeof size});
  write(header);
  for (const auto& item : tensors) {
    const auto tensor = item.second.detach().resolve_conj().resolve_neg().cpu().contiguous();
    write({static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()});
  }
}

/// Reads a safetensors file. Reading one runs no code. Lengths, offsets, shapes and types are
/// checked before a tensor is made: throws c10::ValueError, which begins with the file's name, for
/// a file that cannot be read, is cut off, has bytes that belong to no tensor or to two, or has a
/// type that LibTorch does not have.
inline SafetensorsFile read_safetensors(const std::string& file) {
  std::error_code error;
  const auto file_size = std::filesystem::file_size(file, error);
  TORCH_CHECK_VALUE(!error, file, ": ", error.message());
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  TORCH_CHECK_VALUE(stream.is_open(), file, ": ", std::strerror(errno));
  uint64_t header_size = 0;
  const bool begins(stream.read(reinterpret_cast<char*>(&header_size), sizeof header_size));
  TORCH_CHECK_VALUE(begins && header_size <= detail::kLargestSafetensorsHeader &&
                        header_size <= file_size - sizeof header_size,
                    file,
                    ": expected a file of format safetensors, but its header is cut off or "
                    "damaged");
  std::string text(header_size, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(header_size));
  TORCH_CHECK_VALUE(stream.good(), file, ": its header cannot be read");
  const auto data_begin = sizeof header_size + header_size;
  auto header = detail::parse_safetensors_header(file, text, file_size - data_begin);

  SafetensorsFile read;
  read.metadata = std::move(header.metadata);
  for (const auto& entry : header.entries) {
    const auto tensor = torch::empty(entry.shape, torch::TensorOptions().dtype(entry.dtype));
    stream.seekg(static_cast<std::streamoff>(data_begin + entry.begin));
    const bool whole =
        tensor.nbytes() == 0 || stream.read(static_cast<char*>(tensor.data_ptr()),
                                            static_cast<std::streamsize>(tensor.nbytes()));
    TORCH_CHECK_VALUE(whole, file, ": ", entry.name, " cannot be read");
    read.tensors.emplace(entry.name, tensor);
  }
  return read;
}

}  // namespace evenkeel
