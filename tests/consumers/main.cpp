// SPDX-License-Identifier: MIT
#include <evenkeel/evenkeel.hpp>

#include <fmt/format.h>
#include <torch/torch.h>

// Trains nothing, but goes through the fused residual and back, and asks LibTorch's operators for
// the same.
int main() {
  torch::manual_seed(0);
  const auto device = torch::cuda::is_available() ? torch::kCUDA : torch::kCPU;
  evenkeel::nn::Encoder<evenkeel::Admin> encoder(evenkeel::nn::StackOptions(18, 64, 2, 128));
  encoder->to(device);
  const auto x = torch::randn({2, 3, 64}, device);
  const auto gradient = torch::randn({2, 3, 64}, device);
  const auto omega = encoder->layers[0]->sublayer("self_attn").residual->omega;
  torch::Tensor y[2];
  torch::Tensor omega_gradient[2];
  for (const bool fused : {true, false}) {
    const evenkeel::FusedResidualGuard guard(fused);
    y[fused] = encoder->forward(x);
    omega_gradient[fused] = torch::autograd::grad({y[fused]}, {omega}, {gradient})[0];
  }
  fmt::print("omega of 36 sub-layers: {:.6f}, on {}\n",
             omega[0].item<float>(),
             omega.device().str());
  const bool agree = torch::allclose(y[0], y[1], 1e-3, 1e-4) &&
                     torch::allclose(omega_gradient[0], omega_gradient[1], 1e-3, 1e-4);
  if (!agree) fmt::print("the fused residual is not what LibTorch's operators give\n");
  return agree ? 0 : 1;
}
