// SPDX-License-Identifier: MIT
#include <evenkeel/residual/admin_residual.hpp>

#include <torch/nn/modules/linear.h>

// The class instead of its holder, torch::nn::Linear.
torch::Tensor join(evenkeel::AdminResidualImpl<torch::nn::LinearImpl>& residual,
                   const torch::Tensor& x) {
  return residual.forward(x);
}
