// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/fold/detail/json_text.hpp>

#include <torch/types.h>

#include <map>
#include <string>

namespace evenkeel::detail {

/// Entries of a JSON object, values as JSON.
using JsonEntries = std::map<std::string, std::string>;

inline std::string json_object(const JsonEntries& entries) {
  std::string json;
  for (const auto& [name, value] : entries) {
    json += (json.empty() ? "{\n  " : ",\n  ") + json_string(name) + ": " + value;
  }
  return json + "\n}\n";
}

/// Hugging Face's name of an activation; "gelu" is the one by erf, as ours.
inline const char* hf_name(Activation activation) {
  switch (activation) {
    case Activation::kGELU:
      return "gelu";
    case Activation::kSiLU:
      return "silu";
    default:
      return "relu";
  }
}

/// Hugging Face's name of a dtype.
inline std::string hf_name(torch::ScalarType dtype) {
  switch (dtype) {
    case torch::kFloat64:
      return "float64";
    case torch::kHalf:
      return "float16";
    case torch::kBFloat16:
      return "bfloat16";
    default:
      return "float32";
  }
}

}  // namespace evenkeel::detail
