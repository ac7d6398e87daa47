// SPDX-License-Identifier: MIT
#pragma once

namespace evenkeel {

/// What runs from sub-layer to sub-layer beside the residual stream x:
///
///     kLayerInput  second = x before the layer's first sub-layer; its last one adds it to x
///     kDual        second += f(x); a stack ends in x + norm(second)
///     kSiamese     f reads input_norm(x + second_norm(second)), second += f; a stack ends in
///                  norm(norm(x) + norm(second))
enum class StreamKind { kPlain, kLayerInput, kDual, kSiamese };

constexpr const char* to_string(StreamKind kind) {
  switch (kind) {
    case StreamKind::kPlain:
      return "plain";
    case StreamKind::kLayerInput:
      return "layer input";
    case StreamKind::kDual:
      return "dual";
    case StreamKind::kSiamese:
      return "siamese";
  }
  return "?";
}

}  // namespace evenkeel
