// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/fold/detail/json.hpp>
#include <evenkeel/fold/safetensors.hpp>
#include <evenkeel/nn/positions.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// config.json of a Hugging Face folder. Throws c10::ValueError; errors begin with the file's name.
class HfConfig {
 public:
  /// `types`: what its model_type may be.
  HfConfig(std::string file, const std::vector<std::string>& types) : file_(std::move(file)) {
    std::ifstream stream(file_, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    TORCH_CHECK_VALUE(stream.is_open() && !stream.bad(), file_, ": cannot be read");
    read([&] {
      json_ = parse_json(text);
      json_.object();
    });
    read([&] { type_ = json_.at("model_type").string(); });
    std::string known;
    for (const auto& type : types) known += (known.empty() ? "" : " or ") + type;
    TORCH_CHECK_VALUE(std::find(types.begin(), types.end(), type_) != types.end(),
                      file_,
                      ": expected model_type ",
                      known,
                      ", but got ",
                      type_);
  }

  const std::string& type() const { return type_; }
  int64_t size(const char* name) const {
    int64_t value = 0;
    read([&] { value = json_.at(name).count(); });
    constexpr int64_t kLargest = int64_t{1} << 40;  // products of two small numbers and it fit
    TORCH_CHECK_VALUE(value > 0 && value <= kLargest,
                      file_,
                      ": expected ",
                      name,
                      " from 1 to ",
                      kLargest,
                      ", but got ",
                      value);
    return value;
  }
  int64_t id(const char* name) const {
    int64_t value = 0;
    read([&] { value = json_.at(name).count(); });
    return value;
  }
  int64_t size_or(const char* name, int64_t otherwise) const {
    return is_there(name) ? size(name) : otherwise;
  }
  int64_t id_or(const char* name, int64_t otherwise) const {
    return is_there(name) ? id(name) : otherwise;
  }
  bool flag(const char* name, bool otherwise) const {
    read([&] {
      if (is_there(name)) otherwise = json_.at(name).boolean();
    });
    return otherwise;
  }
  double number(const char* name, double otherwise) const {
    read([&] {
      if (is_there(name)) otherwise = json_.at(name).number();
    });
    return otherwise;
  }
  /// A size that encoder and decoder have to share, e.g. `attention_heads`.
  int64_t same_size(const std::string& name) const {
    const auto encoder = size(("encoder_" + name).c_str());
    const auto decoder = size(("decoder_" + name).c_str());
    TORCH_CHECK_VALUE(encoder == decoder,
                      file_,
                      ": expected the same encoder_",
                      name,
                      " and decoder_",
                      name,
                      ", but got ",
                      encoder,
                      " and ",
                      decoder);
    return encoder;
  }
  Activation activation() const {
    std::string name;
    read([&] { name = json_.at("activation_function").string(); });
    if (name == "relu") return Activation::kReLU;
    if (name == "gelu") return Activation::kGELU;
    if (name == "swish" || name == "silu") return Activation::kSiLU;
    TORCH_CHECK_VALUE(false,
                      file_,
                      ": expected activation_function relu, gelu, swish or silu, but got ",
                      name);
    return Activation::kReLU;
  }
  /// Throws if a flag says that the model is another.
  void check_is_off(const char* name) const {
    TORCH_CHECK_VALUE(!flag(name, false), file_, ": expected ", name, " false, but got true");
  }

 private:
  bool is_there(const char* name) const {
    const auto* value = json_.find(name);
    return value != nullptr && value->kind != Json::Kind::kNull;
  }
  template <typename F>
  void read(F&& f) const {
    try {
      f();
    } catch (const JsonError& error) {
      TORCH_CHECK_VALUE(false, file_, ": ", error.what());
    }
  }

  std::string file_;
  std::string type_;
  Json json_;
};

/// Throws unless a tensor is there and has that shape.
inline void check_shape(const std::string& file,
                        const std::string& name,
                        const torch::Tensor& tensor,
                        torch::IntArrayRef shape) {
  TORCH_CHECK_VALUE(tensor.defined() && tensor.sizes() == shape,
                    file,
                    ": expected ",
                    name,
                    " of shape ",
                    shape,
                    ", as config.json has it, but ",
                    tensor.defined() ? c10::str("got ", tensor.sizes()) : "there is none");
}

/// Throws unless there are tensors of the last of so many layers, whose names begin with `prefix`
/// and the number.
inline void check_layers(const std::string& file,
                         int64_t layers,
                         const std::string& prefix,
                         const StateDict& tensors) {
  const auto last = prefix + std::to_string(layers - 1) + ".";
  const auto found = tensors.lower_bound(last);
  TORCH_CHECK_VALUE(found != tensors.end() && found->first.rfind(last, 0) == 0,
                    file,
                    ": expected ",
                    layers,
                    " layers, as config.json has it, but there is no ",
                    last);
}

/// What a table of positions is beside a sinusoidal one.
struct PositionTable {
  torch::Tensor scale;  ///< The factor of each channel; undefined if all are 1.
  double difference;    ///< The largest from the sinusoidal one, times the factors.
  bool sinusoidal;      ///< Whether that is rounding.
};

/// Compares a table with a sinusoidal one whose channels are ours in the order `channels`. Throws
/// for one of another shape.
inline PositionTable position_table(const std::string& file,
                                    const std::string& name,
                                    const torch::Tensor& table,
                                    const torch::Tensor& channels) {
  const auto dim = channels.numel();
  TORCH_CHECK_VALUE(
      table.defined() && table.dim() == 2 && table.size(1) == dim && table.size(0) > 0,
      file,
      ": expected ",
      name,
      " of shape [positions, ",
      dim,
      "], but got ",
      table.defined() ? c10::str(table.sizes()) : "none");
  if (dim % 2 != 0) return {{}, 0.0, false};
  const auto ours = nn::sinusoidal_positions(table.size(0), dim).to(torch::kFloat64);
  const auto positions = ours.index_select(1, channels);
  const auto given = table.to(torch::kFloat64);
  const auto scale = (given * positions).sum(0) / positions.square().sum(0).clamp_min(1e-12);
  const bool half = c10::elementSize(table.scalar_type()) < 4;
  const auto difference = (given - scale * positions).abs().max().item<double>();
  const double bound = (half ? 1e-2 : 1e-4) * scale.abs().max().item<double>();
  const auto from_one = (scale - 1.0).abs().max().item<double>();
  return {from_one <= (half ? 1e-2 : 1e-4) ? torch::Tensor() : scale,
          difference,
          difference <= bound && scale.ne(0.0).all().item<bool>()};
}

/// The factors of a table that has to be sinusoidal.
inline torch::Tensor position_scale(const std::string& file,
                                    const std::string& name,
                                    const torch::Tensor& table,
                                    const torch::Tensor& channels) {
  const auto found = position_table(file, name, table, channels);
  TORCH_CHECK_VALUE(found.sinusoidal,
                    file,
                    ": expected ",
                    name,
                    " to hold sinusoidal positions, each channel times a factor other "
                    "than 0, but they differ by ",
                    found.difference);
  return found.scale;
}

}  // namespace evenkeel::detail
