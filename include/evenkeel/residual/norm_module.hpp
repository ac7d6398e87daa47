// SPDX-License-Identifier: MIT
#pragma once

namespace evenkeel {

/// A base class that marks a module as a norm, for code that sees only a torch::nn::Module, such as
/// anatomies:
///
///     class MyNormImpl : public torch::nn::Cloneable<MyNormImpl>, public evenkeel::NormModule {
///
/// `NormType` lists what else a norm of your own has. A norm whose class you cannot change is
/// described by its block's `AnatomyOf`, with `norm(block.my_norm)`.
struct NormModule {};

}  // namespace evenkeel
