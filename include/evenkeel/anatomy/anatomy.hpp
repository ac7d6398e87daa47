// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/sublayer.hpp>
#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/position.hpp>

#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel {

/// One parameter, or those rows of it that have one role, and what it is for. Tied weights are one
/// parameter.
struct ParameterRole {
  std::string name;      ///< Its registered name in the model, e.g. `blocks.0.q.weight`.
  torch::Tensor tensor;  ///< The parameter itself.
  Role role = Role::kUnscaled;
  Stack stack = Stack::kEncoder;
  int64_t sublayer = -1;  ///< Index of its sub-layer in its stack; -1 outside any.
  int64_t row_begin = 0;
  int64_t row_end = 0;

  /// Of a bias: which of `Anatomy::parameters` is its matrix; -1 where that is not known.
  int64_t matrix = -1;
  /// Of a matrix: which of `Anatomy::parameters` is its bias; -1 without one.
  int64_t bias = -1;
  /// The other names under which the same weights are registered.
  std::vector<std::string> tied_names;

  /// Returns whether this is a part of a tensor, such as the value third of an `in_proj_weight`.
  bool packed() const { return tensor.dim() > 0 && row_end - row_begin != tensor.size(0); }
  /// The rows that have the role: a view of the parameter, without autograd.
  torch::Tensor rows() const {
    const auto data = tensor.detach();
    return packed() ? data.narrow(0, row_begin, row_end - row_begin) : data;
  }
};

/// What every parameter of a model is for, and its residual sub-layers in forward order.
/// Made by `anatomy_of`.
struct Anatomy {
  std::vector<Sublayer> sublayers;        ///< In forward order.
  std::vector<ParameterRole> parameters;  ///< In order of registration.
  int64_t encoder_layers = 0;
  int64_t decoder_layers = 0;

  /// Residual sub-layers of one stack.
  int64_t num_res_layers(Stack stack) const {
    return std::count_if(sublayers.begin(), sublayers.end(), [&](const Sublayer& sublayer) {
      return sublayer.stack == stack;
    });
  }

  /// The sub-layer that a parameter is part of; null outside any.
  const Sublayer* sublayer_of(const ParameterRole& parameter) const {
    const auto found =
        std::find_if(sublayers.begin(), sublayers.end(), [&](const Sublayer& sublayer) {
          return sublayer.stack == parameter.stack && sublayer.index == parameter.sublayer;
        });
    return found != sublayers.end() ? &*found : nullptr;
  }

  /// Where a sub-layer stands.
  Position position(const Sublayer& sublayer) const {
    Position position;
    position.stack = sublayer.stack;
    position.kind = sublayer.kind;
    position.layer = sublayer.layer;
    position.index = sublayer.index;
    position.num_res_layers = num_res_layers(sublayer.stack);
    position.encoder_layers = encoder_layers;
    position.decoder_layers = decoder_layers;
    return position;
  }

  /// Where the sub-layer of a parameter stands. Outside any, layer and index are 0 and the kind is
  /// `kOther`.
  Position position(const ParameterRole& parameter) const {
    if (const auto* sublayer = sublayer_of(parameter)) return position(*sublayer);
    Sublayer none;
    none.stack = parameter.stack;
    return position(none);
  }
};

}  // namespace evenkeel
