// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/detail/contained.hpp>
#include <evenkeel/diagnose/admin_profile.hpp>
#include <evenkeel/diagnose/detail/admin_profiler.hpp>

#include <utility>

namespace evenkeel {

/// Profiles a model as the original Admin does: one batch sets the omega of every residual
/// sub-layer, from the variance of the branches before it in its stack,
///
///     omega_1 = 1;  omega_{i+1}^2 = Var[omega_i * x_i] + Var[dropout(f_i(x_i))]
///
///     auto profile = evenkeel::profile_admin(model, [&] { model->forward(src, tgt); });
///     profile.save("profile.ratio.init");
///
/// `forward` runs the model once on a batch of real data, in training mode and without autograd.
/// The variance is that of all elements, padding too, in float32; that of the dropped branch is its
/// expectation. The model may be evenkeel's, or a user's whose blocks join by `AdminResidual`, or
/// by `Residual` of a scheme with an omega. The sub-layers of a stack are those whose positions
/// have the same num_res_layers and the same `stack`: an encoder and a decoder with equally many
/// sub-layers need positions that tell them apart, `Position::encoder(...)` and
/// `Position::decoder(...)`. omega keeps its kind: a trained one is trained from the measured
/// value.
///
/// Everything but the omegas is left as it was: generators, buffers, modes. Throws, and changes no
/// omega, if a residual has none or runs twice, if the sub-layers of a stack are not as many as
/// their num_res_layers, and if a variance is not finite.
///
/// A profile assumes that branches keep the variance with which they begin, so it hardly protects a
/// model of small initial weights. docs/own_models.md has measured it without warm-up: at the lower
/// rate it trained models with LayerNorm that Post-norm did not; at the higher it was stuck.
/// Paper: Liu et al. 2020, https://arxiv.org/abs/2004.08249; code: LiyuanLucasLiu/
/// Transformer-Clinic.
template <typename Model, typename F>
AdminProfile profile_admin(Model&& model, F&& forward) {
  return detail::run_profiler("profile_admin",
                              detail::contained(model),
                              std::forward<F>(forward),
                              nullptr);
}

/// Sets the omegas of a model to those of a profile, such as one from a file. `forward` runs the
/// model once, which tells the order of its sub-layers. Throws, and changes no omega, where
/// `profile_admin` does, and if the profile is of other depths.
template <typename Model, typename F>
void apply_profile(Model&& model, F&& forward, const AdminProfile& profile) {
  detail::run_profiler("apply_profile",
                       detail::contained(model),
                       std::forward<F>(forward),
                       &profile);
}

}  // namespace evenkeel
