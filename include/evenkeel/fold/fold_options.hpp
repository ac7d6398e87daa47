// SPDX-License-Identifier: MIT
#pragma once

#include <torch/arg.h>

namespace evenkeel {

/// Options for `fold`, e.g. `FoldOptions().eps(1e-5)`.
struct FoldOptions {
  /// The eps of every norm of a sum in the folded model, for a program that has one for all norms.
  /// A norm's input, the stream, is scaled to that end. Default: 0, which divides the eps by the
  /// square of a shortcut's gain, and leaves the stream as it is
  TORCH_ARG(double, eps) = 0.0;
};

}  // namespace evenkeel
