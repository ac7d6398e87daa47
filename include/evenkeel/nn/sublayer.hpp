// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/nn/any_branch.hpp>
#include <evenkeel/residual/residual.hpp>
#include <evenkeel/residual/residual_stream.hpp>

#include <string>
#include <utility>

namespace evenkeel::nn {

/// One residual sub-layer: a branch, and the residual that joins it to the stream. A layer is a
/// list of these.
struct Sublayer {
  /// Registered name of the branch; the residual's is `name` + "_residual".
  std::string name;
  SublayerKind kind;
  AnyBranch branch;
  Residual<> residual{nullptr};

  ResidualStream forward(ResidualStream stream,
                         const BranchInputs& inputs,
                         KeyValueCache* cache = nullptr) {
    return residual->apply_branch(std::move(stream), [&](const torch::Tensor& h) {
      return branch.forward(h, inputs, cache);
    });
  }
};

}  // namespace evenkeel::nn
