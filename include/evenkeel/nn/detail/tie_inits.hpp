// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/nn/layer.hpp>
#include <evenkeel/nn/parallel.hpp>
#include <evenkeel/nn/shaped_attention.hpp>
#include <evenkeel/nn/shaped_block_options.hpp>

#include <torch/types.h>
#include <torch/utils.h>

#include <cstddef>
#include <utility>
#include <vector>

namespace evenkeel::nn::detail {

/// The shaped self-attentions of layers, in forward order.
inline std::vector<ShapedAttention> shaped_attentions(const std::vector<Layer>& layers) {
  std::vector<ShapedAttention> found;
  for (const auto& layer : layers) {
    for (const auto& sublayer : layer->sublayers) {
      if (sublayer.kind == SublayerKind::kCrossAttention) continue;
      const auto parallel = sublayer.branch.as<Parallel>();
      const auto& branch = parallel.is_empty() ? sublayer.branch : parallel->attention;
      auto attention = branch.as<ShapedAttention>();
      if (!attention.is_empty()) found.push_back(std::move(attention));
    }
  }
  return found;
}

/// Ties W_init of output matrices to those of others, as the options of the blocks say.
inline void tie_inits(const std::vector<Layer>& layers, TiedInit tied) {
  if (tied == TiedInit::kNone) return;
  const torch::NoGradGuard no_grad;
  const auto init_of = [](const ReparamLinear& linear) {
    return linear.is_empty() ? torch::Tensor() : linear->init_weight;
  };
  const auto attentions = shaped_attentions(layers);
  torch::Tensor product;  // of all matrices so far; undefined for I
  const auto multiply = [&](const torch::Tensor& next) {
    if (next.defined()) product = product.defined() ? next.matmul(product) : next;
  };
  for (size_t i = 0; i < attentions.size(); ++i) {
    const auto value = init_of(attentions[i]->v_reparam);
    const auto output = init_of(attentions[i]->out_reparam);
    if (tied == TiedInit::kAllLayers) {
      output.copy_(value.t());
      continue;
    }
    multiply(value);
    if (i + 1 < attentions.size()) {
      multiply(output);
    } else if (product.defined()) {
      output.copy_(product.t());
    }
  }
}

}  // namespace evenkeel::nn::detail
