// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/gain.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <string>

namespace evenkeel::detail {

/// Registers `gain` as a buffer or parameter `name` of `module` and returns it: float32, of shape
/// (1) or (embed_dim). `Gain::one()` registers nothing and gives an undefined tensor.
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

/// x * gain in the dtype of x: a float32 gain of one dimension would promote a half x.
inline torch::Tensor apply_gain(const torch::Tensor& x, const torch::Tensor& gain) {
  return gain.defined() ? x * gain.to(x.scalar_type()) : x;
}

/// shortcut * x + branch * f_x; an undefined gain costs nothing.
inline torch::Tensor residual_sum(const torch::Tensor& x,
                                  const torch::Tensor& f_x,
                                  const torch::Tensor& shortcut,
                                  const torch::Tensor& branch) {
  return apply_gain(x, shortcut) + apply_gain(f_x, branch);
}

}  // namespace evenkeel::detail
