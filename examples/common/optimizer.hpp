// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>
#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/train/fused_adam.hpp>
#include <evenkeel/train/fused_adam_options.hpp>

#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>

#include <memory>
#include <vector>

namespace evenkeel::examples {

/// The optimizer's options that a config has; the learning rate is the schedule's.
template <typename Config>
train::FusedAdamOptions adam_options(const Config& config) {
  return train::FusedAdamOptions()
      .beta1(config.beta1)
      .beta2(config.beta2)
      .eps(config.eps)
      .weight_decay(config.weight_decay)
      .master_weights(config.has_half_weights())
      .max_norm(config.clip_norm);
}

/// The parameters of a model in groups of the same options: norms, gains and biases do not decay,
/// the learning rate of embeddings and head is multiplied by `lr_embeddings`, and that of gains by
/// `lr_gains`.
std::vector<torch::optim::OptimizerParamGroup> optimizer_groups(
    const torch::nn::Module& model,
    const Anatomy& anatomy,
    const train::FusedAdamOptions& options,
    double lr_embeddings,
    double lr_gains);

/// The optimizer of a model that has an anatomy, as its config says.
template <typename Config, typename Model>
std::unique_ptr<train::FusedAdam> make_optimizer(const Config& config, Model& model) {
  const auto options = adam_options(config);
  return std::make_unique<train::FusedAdam>(
      optimizer_groups(*model, anatomy_of(model), options, config.lr_embeddings, config.lr_gains),
      options);
}

}  // namespace evenkeel::examples
