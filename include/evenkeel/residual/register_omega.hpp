// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/omega.hpp>
#include <evenkeel/residual/detail/gains.hpp>

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <string>

namespace evenkeel {

/// Registers a constant omega of shape (1) on any module, under the given name, and returns it:
/// `attention_omega = register_omega_buffer(*this, "attention_omega", 36);`. In `forward`, multiply
/// the shortcut by it. Source: microsoft/admin-torch, `as_buffer`.
inline torch::Tensor register_omega_buffer(torch::nn::Module& module,
                                           const std::string& name,
                                           int64_t num_res_layers,
                                           OutputChangeScale scale = OutputChangeScale::kOLogN) {
  return detail::register_gain(module, name, Gain::fixed(omega_init(num_res_layers, scale)), 0);
}

/// Registers a trained omega of shape (embed_dim) on any module, under the given name, and returns
/// it. Source: microsoft/admin-torch, `as_parameter`.
inline torch::Tensor register_omega_parameter(torch::nn::Module& module,
                                              const std::string& name,
                                              int64_t num_res_layers,
                                              int64_t embed_dim,
                                              OutputChangeScale scale = OutputChangeScale::kOLogN) {
  const auto gain = Gain::trained(omega_init(num_res_layers, scale), GainShape::kPerChannel);
  return detail::register_gain(module, name, gain, embed_dim);
}

}  // namespace evenkeel
