// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/residual_config.hpp>

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace evenkeel::detail {

/// What a residual does beside its tensors.
struct ResidualSettings {
  float eps = 0.0F;
  uint32_t threshold : 17;  ///< Of 65536: how many of the 16-bit draws drop an element.
  uint32_t norm : 2;        ///< A `NormKind`.
  uint32_t want_sum : 1;    ///< The sum beside the norm; without a norm it is the only output.
  uint32_t y : 2, sum : 2;  ///< types
  /// Backward: x and f are where forward read them, so no work under way writes them. Hooks for
  /// saved tensors may bring them back just before.
  uint32_t inputs_stayed : 1;

  ResidualSettings() : threshold(0), norm(0), want_sum(0), y(0), sum(0), inputs_stayed(0) {}

  bool has_norm() const { return norm != 0U; }
  bool has_sum() const { return want_sum != 0U || !has_norm(); }
  bool drops() const { return threshold != 0U; }
  void set_dropout(double dropout) {
    threshold = static_cast<uint32_t>(std::min<int64_t>(std::llround(dropout * 65536.0), 65535));
  }
  float kept_scale() const { return 65536.0F / static_cast<float>(65536U - threshold); }
};

/// One residual, its tensors contiguous and aligned for 16-byte loads.
struct ResidualCall {
  at::Tensor x, f, a, b, c, w, beta;
  ResidualSettings settings;

  int64_t dim() const { return x.size(-1); }
  int64_t rows() const { return x.numel() / dim(); }
};

/// What forward gives.
struct ResidualOutputs {
  at::Tensor y, sum;
  at::Tensor saved;  ///< Seed and offset of the dropout, then mean and 1 / deviation of each row.
};

constexpr int64_t kSavedRandom = 4;  // floats before the rows' statistics

/// What backward gives, as far as it is wanted.
struct ResidualGradients {
  at::Tensor x, f, a, b, c, w, beta;
};

/// The kernels' number for a type; -1 for a type that they do not know.
inline int type_code(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return 0;
    case at::kBFloat16:
      return 1;
    case at::kHalf:
      return 2;
    default:
      return -1;
  }
}

inline at::ScalarType type_of_code(uint32_t code) {
  return code == 0U ? at::kFloat : code == 1U ? at::kBFloat16 : at::kHalf;
}

inline at::Tensor aligned(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  auto contiguous = tensor.contiguous();
  const bool fits = reinterpret_cast<uintptr_t>(contiguous.const_data_ptr()) % 16 == 0;
  return fits ? contiguous : contiguous.clone();
}

/// What forward and backward have in common.
inline ResidualConfig config_of(const ResidualCall& call) {
  const auto code = [](const at::Tensor& tensor) -> uint64_t {
    return tensor.defined() ? static_cast<uint64_t>(type_code(tensor.scalar_type())) : 0;
  };
  const auto gain = [](const at::Tensor& tensor) -> uint64_t {
    return !tensor.defined() ? 0 : tensor.numel() == 1 ? 1 : 2;
  };
  ResidualConfig config;
  config.dim = static_cast<uint64_t>(call.dim());
  config.x = code(call.x);
  config.f = code(call.f);
  config.y = call.settings.y;
  config.sum = call.settings.sum;
  config.w = code(call.w);
  config.a = code(call.a);
  config.b = code(call.b);
  config.c = code(call.c);
  config.norm = call.settings.norm;
  config.has_w = call.w.defined();
  config.has_beta = call.beta.defined();
  config.gain_a = gain(call.a);
  config.gain_b = gain(call.b);
  config.has_bias = call.c.defined();
  config.drop = call.settings.drops();
  config.has_sum = call.settings.has_sum();
  config.device = static_cast<uint8_t>(call.x.get_device());
  return config;
}

}  // namespace evenkeel::detail
