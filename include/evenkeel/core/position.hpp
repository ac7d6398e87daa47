// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>

#include <cstdint>

namespace evenkeel {

/// Where a residual sub-layer stands: which of how many and of which kind, in which layer of which
/// stack, beside how deep a stack.
struct Position {
  /// The sub-layer alone in a stack of `num_res_layers`, all that Admin needs to know.
  static Position of(int64_t num_res_layers) {
    Position position;
    position.num_res_layers = num_res_layers;
    return position;
  }

  Stack stack = Stack::kEncoder;
  SublayerKind kind = SublayerKind::kOther;
  int64_t layer = 0;           ///< Which layer of the stack, from 0.
  int64_t index = 0;           ///< Which sub-layer of the stack, from 0 in forward order.
  int64_t num_res_layers = 0;  ///< Residual sub-layers of this stack.
  int64_t encoder_layers = 0;  ///< Layers of the encoder; 0 where there is none.
  int64_t decoder_layers = 0;  ///< Layers of the decoder; 0 where there is none.
};

}  // namespace evenkeel
