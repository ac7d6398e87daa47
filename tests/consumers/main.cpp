// SPDX-License-Identifier: MIT
#include <evenkeel/evenkeel.hpp>

#include <fmt/format.h>
#include <torch/torch.h>

int main() {
  torch::manual_seed(0);
  const auto device = torch::cuda::is_available() ? torch::kCUDA : torch::kCPU;
  evenkeel::nn::Encoder<evenkeel::Admin> encoder(evenkeel::nn::StackOptions(18, 8, 2, 16));
  encoder->to(device);
  encoder->forward(torch::randn({2, 3, 8}, device)).sum().backward();
  const auto omega = encoder->layers[0]->self_attn_residual->omega;
  fmt::print("omega of 36 sub-layers: {:.6f}, on {}\n",
             omega[0].item<float>(),
             omega.device().str());
  return omega.grad().isfinite().all().item<bool>() ? 0 : 1;
}
