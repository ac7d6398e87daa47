// SPDX-License-Identifier: MIT
#include <evenkeel/evenkeel.hpp>

#include <torch/torch.h>

#include <iostream>

int main() {
  torch::manual_seed(0);
  evenkeel::nn::Encoder<evenkeel::Admin> encoder(evenkeel::nn::StackOptions(18, 8, 2, 16));
  encoder->forward(torch::randn({2, 3, 8})).sum().backward();
  std::cout << "omega of 36 sub-layers: "
            << encoder->layers[0]->self_attn_residual->omega[0].item<float>() << "\n";
  return encoder->layers[0]->self_attn_residual->omega.grad().isfinite().all().item<bool>() ? 0 : 1;
}
