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

/// A parameter, or the rows of it that share one role, with that role. Tied weights are one
/// parameter.
struct ParameterRole {
  std::string name;      ///< Its registered name in the model, e.g. `blocks.0.q.weight`.
  torch::Tensor tensor;  ///< The parameter itself.
  Role role = Role::kUnscaled;
  bool by_name = false;  ///< Whether the role follows only from the registered name.
  bool kept = false;     ///< Whether its block sets the initial values, and no init changes them.
  Stack stack = Stack::kEncoder;
  int64_t sublayer = -1;  ///< Index of its sub-layer in its stack; -1 if it is in none.
  int64_t row_begin = 0;
  int64_t row_end = 0;

  /// For a bias: index of its matrix in `Anatomy::parameters`; -1 if it is not known.
  int64_t matrix = -1;
  /// For a matrix: index of its bias in `Anatomy::parameters`; -1 if it has none.
  int64_t bias = -1;
  /// The other names under which the same weights are registered.
  std::vector<std::string> tied_names;

  /// Returns whether this is a part of a tensor, such as the value rows of an `in_proj_weight`.
  bool packed() const { return tensor.dim() > 0 && row_end - row_begin != tensor.size(0); }
  /// The rows with this role: a view of the parameter, without autograd.
  torch::Tensor rows() const {
    const auto data = tensor.detach();
    return packed() ? data.narrow(0, row_begin, row_end - row_begin) : data;
  }
};

/// The role of every parameter of a model, and its residual sub-layers in forward order. Returned
/// by `anatomy_of`.
struct Anatomy {
  std::vector<Sublayer> sublayers;        ///< In forward order.
  std::vector<ParameterRole> parameters;  ///< In order of registration.
  /// Registered names of the model's norms, wherever they are, with or without parameters.
  std::vector<std::string> norms;
  int64_t encoder_layers = 0;
  int64_t decoder_layers = 0;

  /// Number of residual sub-layers of a stack.
  int64_t num_res_layers(Stack stack) const {
    return std::count_if(sublayers.begin(), sublayers.end(), [&](const Sublayer& sublayer) {
      return sublayer.stack == stack;
    });
  }

  /// The sub-layer that a parameter is part of; null if it is in none.
  const Sublayer* sublayer_of(const ParameterRole& parameter) const {
    const auto found =
        std::find_if(sublayers.begin(), sublayers.end(), [&](const Sublayer& sublayer) {
          return sublayer.stack == parameter.stack && sublayer.index == parameter.sublayer;
        });
    return found != sublayers.end() ? &*found : nullptr;
  }

  /// The position of a sub-layer.
  Position position(const Sublayer& sublayer) const {
    Position position;
    position.stack = sublayer.stack;
    position.kind = sublayer.kind;
    position.layer = sublayer.layer;
    int64_t before = 0;
    int64_t in_layer = 0;
    for (const auto& other : sublayers) {
      if (other.stack != sublayer.stack || other.layer != sublayer.layer) continue;
      ++in_layer;
      if (other.index < sublayer.index) ++before;
    }
    position.sublayer = before;
    position.num_sublayers = std::max<int64_t>(in_layer, 1);
    position.index = sublayer.index;
    position.num_res_layers = num_res_layers(sublayer.stack);
    position.encoder_layers = encoder_layers;
    position.decoder_layers = decoder_layers;
    return position;
  }

  /// The position of a parameter's sub-layer. If it is in none, layer and index are 0 and the kind
  /// is `kOther`.
  Position position(const ParameterRole& parameter) const {
    if (const auto* sublayer = sublayer_of(parameter)) return position(*sublayer);
    Sublayer none;
    none.stack = parameter.stack;
    return position(none);
  }
};

}  // namespace evenkeel
