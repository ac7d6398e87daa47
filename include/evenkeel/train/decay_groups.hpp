// SPDX-License-Identifier: MIT
#pragma once

#include <torch/arg.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>
#include <torch/optim/optimizer.h>
#include <torch/types.h>

#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace evenkeel::train {

/// Options for `decay_groups`.
struct DecayGroupsOptions {
  /// Whether the weights of torch::nn::Embedding and EmbeddingBag decay. Default: true
  TORCH_ARG(bool, embeddings) = true;
};

/// Splits the parameters of a model into two groups: the first has `options`, the second the same
/// options without weight decay:
///
///     const auto options = FusedAdamOptions(3e-4).weight_decay(0.1);
///     FusedAdam adam(decay_groups(*model, options), options);
///
/// Norms, gains and biases do not decay: parameters of fewer than two dimensions, those of a
/// torch::nn::LayerNorm, and those named bias, bias_k and so on. Each parameter is in exactly one
/// group, in the order of `model.parameters()`. Tensors that share memory, such as tied weights,
/// are in one group, which is the second if any of them belongs there. `Options` may be
/// FusedAdamOptions or the options of any LibTorch optimizer with weight decay.
template <typename Options>
std::vector<torch::optim::OptimizerParamGroup> decay_groups(const torch::nn::Module& model,
                                                            const Options& options,
                                                            const DecayGroupsOptions& which = {}) {
  // Tied tensors have the same memory; tensors on the meta device have none.
  const auto memory = [](const torch::Tensor& tensor) -> const void* {
    return tensor.const_data_ptr() != nullptr ? tensor.const_data_ptr()
                                              : tensor.unsafeGetTensorImpl();
  };
  std::unordered_set<const void*> plain;  // memory of parameters that do not decay
  model.apply([&](const torch::nn::Module& module) {
    const bool whole = dynamic_cast<const torch::nn::LayerNormImpl*>(&module) != nullptr ||
                       (!which.embeddings() &&
                        (dynamic_cast<const torch::nn::EmbeddingImpl*>(&module) != nullptr ||
                         dynamic_cast<const torch::nn::EmbeddingBagImpl*>(&module) != nullptr));
    for (const auto& parameter : module.named_parameters(/*recurse=*/false)) {
      if (whole || parameter->dim() < 2 || parameter.key().find("bias") != std::string::npos) {
        plain.insert(memory(*parameter));
      }
    }
  });
  std::vector<torch::Tensor> decayed, others;
  std::unordered_set<const c10::TensorImpl*> seen;
  for (const auto& parameter : model.parameters()) {
    if (!seen.insert(parameter.unsafeGetTensorImpl()).second) continue;
    (plain.count(memory(parameter)) == 0 ? decayed : others).push_back(parameter);
  }
  auto without = options;
  without.weight_decay(0.0);
  return {{std::move(decayed), std::make_unique<Options>(options)},
          {std::move(others), std::make_unique<Options>(std::move(without))}};
}

/// The same for a module holder.
template <typename Contained, typename Options>
std::vector<torch::optim::OptimizerParamGroup> decay_groups(
    const torch::nn::ModuleHolder<Contained>& model,
    const Options& options,
    const DecayGroupsOptions& which = {}) {
  return decay_groups(*model, options, which);
}

}  // namespace evenkeel::train
