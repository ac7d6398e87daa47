// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <limits>
#include <map>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

namespace evenkeel::detail {

/// The variables of a CTranslate2 model, and its model.bin:
///
///     uint32 binary version, string spec name, uint32 spec revision
///     uint32 count, then for each variable: string name, uint8 rank, uint32 sizes, uint8 dtype,
///                   uint32 bytes, the values
///     uint32 count, then for each alias: string name, string name of its variable
///
/// A string is its uint16 length with the NUL, its bytes, NUL. Numbers are little-endian.
/// Source: ctranslate2 4.8.5, specs/model_spec.py.
class CTranslate2File {
 public:
  static constexpr uint32_t kBinaryVersion = 6;

  /// Adds a tensor: float64 as float32, other dtypes as they are. A tensor that is the memory of
  /// another is saved once.
  void add(const std::string& name, const torch::Tensor& tensor) {
    const bool is_double = tensor.scalar_type() == torch::kFloat64;
    auto values =
        tensor.detach().to(torch::kCPU, is_double ? torch::kFloat32 : tensor.scalar_type());
    values = values.contiguous();
    TORCH_CHECK(values.nbytes() <= std::numeric_limits<uint32_t>::max(),
                "export_ctranslate2: expected tensors of less than 4 GiB, but got ",
                name,
                " of ",
                values.nbytes(),
                " bytes");
    dtype_id(values.scalar_type());
    const Memory memory{tensor.data_ptr(), tensor.sizes().vec(), tensor.strides().vec()};
    const auto [first, is_new] = names_.emplace(memory, name);
    if (is_new || tensor.dim() == 0) {
      variables_[name] = values;
      kept_.push_back(tensor);
    } else {
      aliases_[name] = first->second;
    }
  }
  /// Adds a scalar.
  template <typename T>
  void add_scalar(const std::string& name, T value) {
    variables_[name] = torch::tensor(value, c10::CppTypeToScalarType<T>::value);
  }

  const std::map<std::string, torch::Tensor>& variables() const { return variables_; }
  const std::map<std::string, std::string>& aliases() const { return aliases_; }

  /// Writes the file.
  void write(std::ostream& stream, const std::string& spec, uint32_t revision) const {
    write_number(stream, kBinaryVersion);
    write_string(stream, spec);
    write_number(stream, revision);
    write_number(stream, static_cast<uint32_t>(variables_.size()));
    for (const auto& [name, tensor] : variables_) {
      write_string(stream, name);
      write_number(stream, static_cast<uint8_t>(tensor.dim()));
      for (const auto size : tensor.sizes()) write_number(stream, static_cast<uint32_t>(size));
      write_number(stream, dtype_id(tensor.scalar_type()));
      write_number(stream, static_cast<uint32_t>(tensor.nbytes()));
      stream.write(static_cast<const char*>(tensor.data_ptr()),
                   static_cast<std::streamsize>(tensor.nbytes()));
    }
    write_number(stream, static_cast<uint32_t>(aliases_.size()));
    for (const auto& [alias, name] : aliases_) {
      write_string(stream, alias);
      write_string(stream, name);
    }
  }

 private:
  using Memory = std::tuple<const void*, std::vector<int64_t>, std::vector<int64_t>>;

  static uint8_t dtype_id(torch::ScalarType dtype) {
    switch (dtype) {
      case torch::kFloat32:
        return 0;
      case torch::kInt8:
        return 1;
      case torch::kInt16:
        return 2;
      case torch::kInt32:
        return 3;
      case torch::kHalf:
        return 4;
      case torch::kBFloat16:
        return 5;
      default:
        break;
    }
    TORCH_CHECK(false,
                "export_ctranslate2: expected float32, float64, half or bfloat16, but got ",
                dtype);
  }

  template <typename T>
  static void write_number(std::ostream& stream, T number) {
    for (size_t byte = 0; byte < sizeof(T); ++byte) {
      stream.put(static_cast<char>(static_cast<uint64_t>(number) >> (8 * byte) & 0xFFU));
    }
  }
  static void write_string(std::ostream& stream, const std::string& text) {
    write_number(stream, static_cast<uint16_t>(text.size() + 1));
    stream.write(text.c_str(), static_cast<std::streamsize>(text.size() + 1));
  }

  std::map<std::string, torch::Tensor> variables_;
  std::map<std::string, std::string> aliases_;
  std::map<Memory, std::string> names_;
  std::vector<torch::Tensor> kept_;  // their memory is not another tensor's meanwhile
};

}  // namespace evenkeel::detail
