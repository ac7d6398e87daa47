// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/nn/any_branch.hpp>
#include <evenkeel/residual/residual.hpp>
#include <evenkeel/residual/residual_stream.hpp>

#include <string>
#include <utility>

namespace evenkeel::nn {

/// One residual sub-layer: a branch, and the residual that adds it to the stream. A layer is a list
/// of sub-layers.
struct Sublayer {
  /// With a branch of any type that `AnyBranch` takes.
  template <typename Holder>
  Sublayer(std::string name_, SublayerKind kind_, const Holder& branch_, Residual<> residual_)
      : Sublayer(std::move(name_), kind_, AnyBranch(branch_, kind_), std::move(residual_)) {}
  Sublayer(std::string name_, SublayerKind kind_, AnyBranch branch_, Residual<> residual_)
      : name(std::move(name_)),
        kind(kind_),
        branch(std::move(branch_)),
        residual(std::move(residual_)) {}

  /// Registered name of the branch; the residual's is `name` + "_residual".
  std::string name;
  SublayerKind kind;
  AnyBranch branch;
  Residual<> residual;

  ResidualStream forward(ResidualStream stream,
                         const BranchInputs& inputs,
                         KeyValueCache* cache = nullptr) {
    return residual->apply_branch(std::move(stream), [&](const torch::Tensor& h) {
      return branch.forward(h, inputs, cache);
    });
  }
};

}  // namespace evenkeel::nn
