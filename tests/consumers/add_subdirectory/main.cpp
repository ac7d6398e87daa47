// SPDX-License-Identifier: MIT
#include <evenkeel/residual/admin_residual.hpp>

#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <iostream>

int main() {
  evenkeel::AdminResidual<torch::nn::Linear> residual(torch::nn::Linear(8, 8), 36);
  const auto y = residual(torch::ones({2, 8}));
  std::cout << "omega of 36 sub-layers: " << residual->omega.item<float>() << "\n";
  return y.isfinite().all().item<bool>() ? 0 : 1;
}
