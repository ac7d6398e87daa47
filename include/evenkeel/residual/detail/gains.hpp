// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/gain.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <string>

namespace evenkeel::detail {

/// Registers `gain` as a buffer or parameter `name` of `module` and returns it: float32, of shape
/// (1) or (embed_dim). For `Gain::one()` it registers nothing and returns an undefined tensor.
inline torch::Tensor register_gain(torch::nn::Module& module,
                                   const std::string& name,
                                   const Gain& gain,
                                   int64_t embed_dim) {
  const bool per_channel = gain.shape == GainShape::kPerChannel;
  switch (gain.kind) {
    case Gain::Kind::kOne:
      return {};
    case Gain::Kind::kFixed:
      return module.register_buffer(name, torch::full({1}, gain.value, torch::kFloat32));
    case Gain::Kind::kTrained:
      TORCH_CHECK(!per_channel || embed_dim > 0,
                  module.name(),
                  ": a gain per channel needs embed_dim > 0, but got ",
                  embed_dim);
      return module.register_parameter(
          name,
          torch::full({per_channel ? embed_dim : 1}, gain.value, torch::kFloat32));
  }
  return {};
}

/// Resets a registered gain to its initial value.
inline void reset_gain(torch::Tensor& tensor, const Gain& gain) {
  const torch::NoGradGuard no_grad;
  if (tensor.defined()) tensor.fill_(gain.value);
}

}  // namespace evenkeel::detail
