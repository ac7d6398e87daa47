// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/detail/contained.hpp>
#include <evenkeel/diagnose/detail/restore_guard.hpp>
#include <evenkeel/residual/observer.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace evenkeel {

/// The largest L2 norm of a token's vector at the input of a stack, mu of `dt_fixup`:
///
///     const double mu = largest_input_norm(model, [&] { model->forward(src, tgt); });
///     SchemeInit<Scheme, MyModel, MyBlock> begin(with_init(find_scheme("tfixup"), dt_fixup(mu)),
///     options);
///
/// `forward` runs the model over data, in evaluation mode and without autograd; the paper passes
/// over all of the training text. The model is left as it was. The blocks have to join by
/// `Residual` or `AdminResidual`; otherwise take the norm of your stack's input yourself. Throws if
/// none ran, or if a norm is not finite.
template <typename Model, typename F>
double largest_input_norm(Model&& model, F&& forward) {
  auto& module = detail::contained(model);
  detail::RestoreGuard guard(module, "largest_input_norm");
  module.eval();
  double largest = 0.0;
  {
    const torch::NoGradGuard no_grad;
    const Observer watch([&](const SublayerEvent& event) {
      const auto& position = event.position;
      if (position.kind.is_given() ? position.index != 0 : event.order != 0) return;
      const auto norms = event.input.detach().to(torch::kFloat32).norm(2, -1);
      const auto norm = norms.max().item<double>();
      TORCH_CHECK(std::isfinite(norm),
                  "largest_input_norm: expected finite inputs, but some are NaN or infinite");
      largest = std::max(largest, norm);
    });
    std::forward<F>(forward)();
  }
  guard.restore();
  TORCH_CHECK(
      largest > 0.0,
      "largest_input_norm: expected residual sub-layers, AdminResidual or Residual, but none "
      "ran in the forward pass of ",
      module.name());
  return largest;
}

}  // namespace evenkeel
