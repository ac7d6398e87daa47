// SPDX-License-Identifier: MIT
#pragma once

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/embedding.h>
#include <torch/types.h>

#include <memory>

namespace evenkeel::test {

/// A module of nobody's: parameters, buffers, and a weight with two names.
struct TiedImpl : torch::nn::Module {
  TiedImpl() {
    embedding = register_module("embedding", torch::nn::Embedding(5, 3));
    head = register_module("head", std::make_shared<torch::nn::Module>());
    head->register_parameter("weight", embedding->weight);
    head->register_parameter("bias", torch::randn({5}));
    norm = register_module("norm", torch::nn::BatchNorm1d(3));
  }
  torch::nn::Embedding embedding{nullptr};
  std::shared_ptr<torch::nn::Module> head;
  torch::nn::BatchNorm1d norm{nullptr};
};
TORCH_MODULE(Tied);

}  // namespace evenkeel::test
