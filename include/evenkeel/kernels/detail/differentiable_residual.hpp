// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/plain_residual.hpp>
#include <evenkeel/kernels/detail/platform.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/run_kernel.hpp>
#include <evenkeel/kernels/residual_terms.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <vector>

namespace evenkeel::detail {

/// 1 / (1 - p) where the dropout that `saved` speaks of keeps an element, 0 elsewhere; float32.
EVENKEEL_COLD inline at::Tensor dropout_factors(const ResidualCall& call, const at::Tensor& saved) {
  const auto& x = call.terms.x;
  const auto zeros = at::zeros(x.sizes(), x.options().dtype(at::kFloat));
  // Backward of a sum: what reaches f_x of a gradient of 1.
  ResidualCall sum{{zeros, zeros, {}, {}, {}, call.terms.dropout}, {}, {}};
  sum.form.dim = call.form.dim;
  sum.form.device = call.form.device;
  sum.form.drops = sum.form.backward = sum.form.has_dsum = 1;
  sum.form.want(kFX);
  TORCH_CHECK(find_kernel(sum), "fused_residual: no kernel computes the dropout mask again");
  return run_backward(sum, {}, zeros + 1, saved, /*inputs_stayed=*/false)[kFX];
}

/// The outputs, sum and then norm as far as wanted, by differentiable operators and with the mask
/// that the kernel drew. In float32: it is what double backward goes through.
EVENKEEL_COLD inline std::vector<at::Tensor> differentiable_residual(const ResidualCall& call,
                                                                     const at::Tensor& factors) {
  const auto wide = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.to(at::kFloat) : tensor;
  };
  const auto& terms = call.terms;
  ResidualTerms wide_terms{wide(terms.x),
                           wide(terms.f_x),
                           wide(terms.shortcut),
                           wide(terms.branch)};
  if (terms.bias.defined()) wide_terms.f_x = wide_terms.f_x + wide(terms.bias);
  if (factors.defined()) wide_terms.f_x = wide_terms.f_x * factors;
  const auto sum = plain_sum(wide_terms);
  std::vector<at::Tensor> outputs;
  if (call.form.has_sum != 0U) outputs.push_back(sum.to(type_of_code(call.form.sum)));
  if (call.form.has_norm()) {
    const auto& norm = call.norm;
    const ResidualNorm wide_norm{norm.kind, wide(norm.weight), wide(norm.bias), norm.eps};
    outputs.push_back(plain_norm(sum, wide_norm).to(type_of_code(call.form.y)));
  }
  return outputs;
}

}  // namespace evenkeel::detail
