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

/// Throws unless the gain of a `module` is one number that does not follow the training step.
inline void check_scalar_gain(const char* module, const Gain& gain) {
  const bool ramp = gain.kind == Gain::Kind::kRamp;
  TORCH_CHECK(!ramp && gain.shape == GainShape::kScalar,
              module,
              ": expected scalar gains that do not follow the training step, but got ",
              ramp ? "a ramp" : "one per channel");
}

/// Registers `gain` as a buffer or parameter `name` of `module` and returns it: float32, of shape
/// (1) or (channels). For `Gain::one()` and `Gain::zero()` it registers nothing and returns an
/// undefined tensor.
inline torch::Tensor register_gain(torch::nn::Module& module,
                                   const std::string& name,
                                   const Gain& gain,
                                   int64_t channels) {
  const bool per_channel = gain.shape == GainShape::kPerChannel;
  switch (gain.kind) {
    case Gain::Kind::kOne:
    case Gain::Kind::kZero:
      return {};
    case Gain::Kind::kFixed:
    case Gain::Kind::kRamp:
      return module.register_buffer(name, torch::full({1}, gain.value_at(1), torch::kFloat32));
    case Gain::Kind::kTrained:
      TORCH_CHECK(!per_channel || channels > 0,
                  module.name(),
                  ": a gain per channel needs embed_dim > 0, but got ",
                  channels);
      return module.register_parameter(
          name,
          torch::full({per_channel ? channels : 1}, gain.value, torch::kFloat32));
  }
  return {};
}

/// Resets a registered gain to its initial value.
inline void reset_gain(torch::Tensor& tensor, const Gain& gain) {
  const torch::NoGradGuard no_grad;
  if (tensor.defined()) tensor.fill_(gain.value_at(1));
}

}  // namespace evenkeel::detail
