// SPDX-License-Identifier: MIT
// Admin in a user-defined Post-LN block: one more member, and one call instead of `x + f(x)`.
#include <evenkeel/evenkeel.hpp>

#include <torch/torch.h>

#include <iostream>

struct BlockImpl : torch::nn::Module {
  explicit BlockImpl(int64_t num_res_layers)
      : fc1(register_module("fc1", torch::nn::Linear(64, 256))),
        fc2(register_module("fc2", torch::nn::Linear(256, 64))),
        residual(register_module("residual", evenkeel::AdminResidual<>(num_res_layers))),
        norm(register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({64})))) {}

  torch::Tensor forward(const torch::Tensor& x) {
    const auto f_x = fc2(torch::relu(fc1(x)));
    return norm(residual(x, f_x));  // was: norm(x + f_x)
  }

  torch::nn::Linear fc1, fc2;
  evenkeel::AdminResidual<> residual;
  torch::nn::LayerNorm norm;
};
TORCH_MODULE(Block);

int main() {
  torch::manual_seed(0);
  constexpr int64_t kDepth = 100;
  torch::nn::Sequential model;
  for (int64_t i = 0; i < kDepth; ++i) model->push_back(Block(kDepth));

  const auto x = torch::randn({32, 64});
  const auto change = evenkeel::output_change(
      *model,
      [&] { return model->forward(x); },
      evenkeel::OutputChangeOptions().trials(4));
  std::cout << "omega " << evenkeel::omega_init(kDepth) << ", output change " << change.mean
            << " +- " << change.standard_error << '\n';
}
