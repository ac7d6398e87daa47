// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/residual_options.hpp>

#include <torch/nn/module.h>

namespace evenkeel::detail {

/// Makes the norm of the options and registers it with `module`, if it is there; empty if not.
inline AnyNorm register_norm(torch::nn::Module& module,
                             const ResidualOptions& options,
                             bool is_there,
                             const char* name) {
  AnyNorm norm;
  if (is_there) norm = options.norm().make(options.embed_dim(), options.eps());
  if (!norm.is_empty()) module.register_module(name, norm.ptr());
  return norm;
}

}  // namespace evenkeel::detail
