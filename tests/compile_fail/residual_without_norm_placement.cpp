// SPDX-License-Identifier: MIT
#include <evenkeel/residual/residual.hpp>

namespace {

struct NoAnswer {};  // where do its norms stand?

}  // namespace

torch::Tensor join(const torch::Tensor& x, const torch::Tensor& f_x) {
  return evenkeel::Residual<NoAnswer>(evenkeel::ResidualOptions({}, 8))->forward(x, f_x);
}
