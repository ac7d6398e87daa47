// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/json.hpp>

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// The dtypes that the format and every supported LibTorch have.
inline constexpr std::array kSafetensorsTypes{
    std::pair{"F64", c10::ScalarType::Double},
    std::pair{"F32", c10::ScalarType::Float},
    std::pair{"F16", c10::ScalarType::Half},
    std::pair{"BF16", c10::ScalarType::BFloat16},
    std::pair{"I64", c10::ScalarType::Long},
    std::pair{"I32", c10::ScalarType::Int},
    std::pair{"I16", c10::ScalarType::Short},
    std::pair{"I8", c10::ScalarType::Char},
    std::pair{"U8", c10::ScalarType::Byte},
    std::pair{"BOOL", c10::ScalarType::Bool},
    std::pair{"U64", c10::ScalarType::UInt64},
    std::pair{"U32", c10::ScalarType::UInt32},
    std::pair{"U16", c10::ScalarType::UInt16},
    std::pair{"C64", c10::ScalarType::ComplexFloat},
    std::pair{"F8_E4M3", c10::ScalarType::Float8_e4m3fn},
    std::pair{"F8_E5M2", c10::ScalarType::Float8_e5m2},
    std::pair{"F8_E4M3FNUZ", c10::ScalarType::Float8_e4m3fnuz},
    std::pair{"F8_E5M2FNUZ", c10::ScalarType::Float8_e5m2fnuz}};

inline constexpr uint64_t kLargestSafetensorsHeader = 100'000'000;  // as the format has it
inline constexpr const char* kSafetensorsMetadata = "__metadata__";

/// The format's name of a dtype, null if it has none.
inline const char* safetensors_type(c10::ScalarType dtype) {
  for (const auto& [name, type] : kSafetensorsTypes) {
    if (type == dtype) return name;
  }
  return nullptr;
}

/// A tensor in a header: its bytes are from `begin` to `end` of what follows the header.
struct SafetensorsEntry {
  std::string name;
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

/// Returns whether a tensor of that shape has exactly `bytes`, without overflow.
inline bool has_bytes(uint64_t bytes, const std::vector<int64_t>& shape, uint64_t element_size) {
  uint64_t total = element_size;
  for (const auto size : shape) {
    if (size > 0 && total > bytes / static_cast<uint64_t>(size)) return false;
    total *= static_cast<uint64_t>(size);
  }
  return total == bytes;
}

/// Reads one entry. `file` begins the errors.
inline SafetensorsEntry read_entry(const std::string& file,
                                   const std::string& name,
                                   const Json& value,
                                   uint64_t data_size) {
  SafetensorsEntry entry;
  entry.name = name;
  for (const auto& key : value.object().names) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      throw JsonError(
          fmt::format("expected dtype, shape and data_offsets of {}, but got {}", name, key));
    }
  }
  const auto& dtype = value.at("dtype").string();
  for (const auto& [known, type] : kSafetensorsTypes) {
    if (dtype == known) entry.dtype = type;
  }
  TORCH_CHECK_VALUE(entry.dtype != c10::ScalarType::Undefined,
                    file,
                    ": ",
                    name,
                    " is of unknown type ",
                    dtype);
  for (const auto& size : value.at("shape").array()) entry.shape.push_back(size.count());
  const auto& offsets = value.at("data_offsets").array();
  if (offsets.size() != 2) throw JsonError("expected two data_offsets of " + name);
  entry.begin = static_cast<uint64_t>(offsets[0].count());
  entry.end = static_cast<uint64_t>(offsets[1].count());
  TORCH_CHECK_VALUE(
      entry.begin <= entry.end && entry.end <= data_size &&
          has_bytes(entry.end - entry.begin, entry.shape, c10::elementSize(entry.dtype)),
      file,
      ": ",
      name,
      " does not fit in the file, which is cut off or damaged");
  return entry;
}

/// Reads a header that `data_size` bytes follow, and checks that its tensors fill them one behind
/// the other. Throws c10::ValueError; `file` begins the errors.
inline SafetensorsHeader parse_safetensors_header(const std::string& file,
                                                  std::string_view text,
                                                  uint64_t data_size) {
  SafetensorsHeader header;
  try {
    const auto json = parse_json(text);
    TORCH_CHECK_VALUE(json.kind == Json::Kind::kObject,
                      file,
                      ": expected a JSON object as its header");
    std::map<uint64_t, uint64_t> spans;  // of the tensors with bytes: begin to end
    for (size_t i = 0; i < json.items.size(); ++i) {
      const auto& name = json.names[i];
      const auto& value = json.items[i];
      if (name == kSafetensorsMetadata) {
        for (size_t k = 0; k < value.object().items.size(); ++k) {
          header.metadata.emplace(value.names[k], value.items[k].string());
        }
        continue;
      }
      header.entries.push_back(read_entry(file, name, value, data_size));
      const auto& entry = header.entries.back();
      if (entry.begin < entry.end) {
        TORCH_CHECK_VALUE(spans.emplace(entry.begin, entry.end).second,
                          file,
                          ": ",
                          name,
                          " lies where another tensor begins");
      }
    }
    uint64_t covered = 0;
    for (const auto& [begin, end] : spans) covered = begin == covered ? end : data_size + 1;
    TORCH_CHECK_VALUE(covered == data_size,
                      file,
                      ": expected tensors to fill the file, but there are other bytes in it or "
                      "behind it");
  } catch (const JsonError& error) {
    TORCH_CHECK_VALUE(false, file, ": its header is damaged: ", error.what());
  }
  return header;
}

}  // namespace evenkeel::detail
