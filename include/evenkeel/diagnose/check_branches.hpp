// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/detail/contained.hpp>
#include <evenkeel/diagnose/branch_report.hpp>
#include <evenkeel/diagnose/detail/admin_profiler.hpp>
#include <evenkeel/diagnose/detail/restore_guard.hpp>
#include <evenkeel/residual/observer.hpp>
#include <evenkeel/residual/residual.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <type_traits>
#include <utility>

namespace evenkeel {

/// Measures, in one forward pass, how large the branches of a model are beside their shortcuts, and
/// says in words where that is far from what its scheme assumes, and what to call:
///
///     std::cout << evenkeel::check_branches(model, [&] { return model->forward(src, tgt); });
///
/// `forward` runs the model once on a batch of real data, in evaluation mode and without autograd.
/// If it returns the logits, (*, vocab_size), they are checked too. The model may be evenkeel's, or
/// a user's whose blocks join by `Residual` or `AdminResidual`, and is left as it was, bit for bit.
/// Throws if no such residual runs.
template <typename Model, typename F>
BranchReport check_branches(Model&& model, F&& forward) {
  auto& module = detail::contained(model);
  BranchReport report;
  const auto names = detail::names_in(module);
  detail::RestoreGuard guard(module, "check_branches");
  module.eval();
  {
    const torch::NoGradGuard no_grad;
    const Observer watch([&](const SublayerEvent& event) {
      const auto omega = detail::omega_of(event.residual);
      const auto* residual = dynamic_cast<const ResidualImpl*>(&event.residual);
      const bool skips = residual == nullptr || residual->has_shortcut();
      const double squared = omega.defined() ? omega.square().mean().item<double>()
                             : skips         ? 1.0
                                             : 0.0;
      report.rows.push_back({detail::name_in(names, event.residual),
                             event.position,
                             detail::variance_of(event.input),
                             std::sqrt(squared),
                             detail::variance_of(event.branch),
                             residual == nullptr || residual->norms().sum});
    });
    if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
      forward();
    } else {
      const torch::Tensor logits = forward();
      if (logits.defined() && logits.is_floating_point() && logits.dim() > 0) {
        report.logit_variance =
            logits.detach().to(torch::kFloat64).var(-1, /*unbiased=*/false).mean().item<double>();
      }
    }
  }
  guard.restore();
  TORCH_CHECK(!report.rows.empty(),
              "check_branches: expected residual sub-layers, AdminResidual or Residual, but none "
              "ran in the forward pass of ",
              module.name());
  return report;
}

}  // namespace evenkeel
