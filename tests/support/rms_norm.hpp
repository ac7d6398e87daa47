// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/norm_module.hpp>

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>

namespace evenkeel::test {

/// A norm of a user's own, made from its size alone: y = x / rms(x) * weight.
class RmsNormImpl : public torch::nn::Cloneable<RmsNormImpl>, public NormModule {
 public:
  explicit RmsNormImpl(int64_t embed_dim) : embed_dim_(embed_dim) { reset(); }
  void reset() override { weight = register_parameter("weight", torch::ones({embed_dim_})); }
  torch::Tensor forward(const torch::Tensor& x) {
    return x * x.square().mean(-1, /*keepdim=*/true).rsqrt() * weight;
  }

  torch::Tensor weight;

 private:
  int64_t embed_dim_;
};

TORCH_MODULE(RmsNorm);

}  // namespace evenkeel::test
