// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>

#include <cstdint>

namespace evenkeel {

/// The position of a residual sub-layer in a model: its index and kind, its layer and stack, and
/// the depths of both stacks.
struct Position {
  /// The first sub-layer of a stack of `num_res_layers`; enough for Admin, which reads nothing
  /// else.
  static Position of(int64_t num_res_layers) {
    Position position;
    position.num_res_layers = num_res_layers;
    return position;
  }

  Stack stack = Stack::kEncoder;
  SublayerKind kind = SublayerKind::kOther;
  int64_t layer = 0;           ///< Index of the layer in the stack, from 0.
  int64_t index = 0;           ///< Index of the sub-layer in the stack, from 0, in forward order.
  int64_t num_res_layers = 0;  ///< Number of residual sub-layers of this stack.
  int64_t encoder_layers = 0;  ///< Layers of the encoder; 0 if there is none.
  int64_t decoder_layers = 0;  ///< Layers of the decoder; 0 if there is none.
};

}  // namespace evenkeel
