// SPDX-License-Identifier: MIT
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <string>
#include <utility>
#include <vector>

namespace evenkeel::test {

/// The name that torch::nn's Transformer layers give to a parameter of evenkeel::nn's.
inline std::string name_in_torch(std::string name) {
  const std::vector<std::pair<std::string, std::string>> renames{
      {"layer_", "layers."},
      {"cross_attn_residual.norm", "norm2"},
      {"cross_attn.", "multihead_attn."},
      {"self_attn_residual.norm", "norm1"},
      {"feed_forward.fc1", "linear1"},
      {"feed_forward.fc2", "linear2"}};
  for (const auto& [ours, theirs] : renames) {
    const auto at = name.find(ours);
    if (at != std::string::npos) name.replace(at, ours.size(), theirs);
  }
  return name;
}

/// Copies every parameter of `from`, of evenkeel::nn, into `into`, of torch::nn.
/// `last_norm` is what the latter calls the feed-forward's norm: norm2, or norm3 in a decoder.
inline void copy_into_torch(const torch::nn::Module& from,
                            torch::nn::Module& into,
                            const std::string& last_norm) {
  const torch::NoGradGuard no_grad;
  auto parameters = into.named_parameters();
  for (const auto& parameter : from.named_parameters()) {
    auto name = name_in_torch(parameter.key());
    const std::string ours = "feed_forward_residual.norm";
    const auto at = name.find(ours);
    if (at != std::string::npos) name.replace(at, ours.size(), last_norm);
    parameters[name].copy_(parameter.value());
  }
}

}  // namespace evenkeel::test
