// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/position.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel {

/// One residual sub-layer of a model, in forward order.
struct Sublayer {
  std::string name;  ///< What its block calls it, e.g. `attention`.
  Stack stack;
  int64_t index;  ///< Which sub-layer of its stack, from 0.
};

/// One parameter, or those rows of it that have one role, and what it is for.
struct ParameterRole {
  std::string name;      ///< Its registered name in the model, e.g. `blocks.0.q.weight`.
  torch::Tensor tensor;  ///< The parameter itself.
  Role role;
  Stack stack;
  int64_t sublayer = -1;  ///< Index of its sub-layer in its stack; -1 outside any.
  int64_t row_begin = 0;
  int64_t row_end = 0;

  /// True for a part of a matrix, such as the value third of a packed `in_proj_weight`.
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
  std::vector<Sublayer> sublayers;
  std::vector<ParameterRole> parameters;
  int64_t encoder_layers = 0;
  int64_t decoder_layers = 0;

  /// Residual sub-layers of one stack.
  int64_t num_res_layers(Stack stack) const {
    return std::count_if(sublayers.begin(), sublayers.end(), [&](const Sublayer& sublayer) {
      return sublayer.stack == stack;
    });
  }

  /// Where a parameter stands.
  Position position(const ParameterRole& parameter) const {
    Position position;
    position.stack = parameter.stack;
    position.index = std::max<int64_t>(parameter.sublayer, 0);
    position.num_res_layers = num_res_layers(parameter.stack);
    position.encoder_layers = encoder_layers;
    position.decoder_layers = decoder_layers;
    return position;
  }
};

}  // namespace evenkeel
